"""The shell side of background commands: constant POSIX scripts, for dash, bash and busybox.

A job is a directory `$HOME/.gitmachine/jobs/<id>` with

    run               the script that becomes the command
    out, err          what the command wrote
    in                a FIFO: its standard input (or `stdin`, a file, when all of it was known at the start)
    close             a FIFO: a line in it makes the holder of the write end of `in` let go
    done              a FIFO that the supervisor holds open: reading it ends when the supervisor does
    pid, supervisor   process ids; the command leads a session and a process group of its own
    exit              "<exit code> <1 when timed out> <uptime at start> <uptime at end>", once it has ended

Values reach these scripts as quoted arguments only (`script`), the command and its environment as a file.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

_PRELUDE = """
id=$1 job=$HOME/.gitmachine/jobs/$1
alive() {
  [ ! -e "$job/exit" ] && [ -s "$job/supervisor" ] &&
    grep -qzsF -- "$id" "/proc/$(cat "$job/supervisor")/cmdline"
}
wait_for_end() {
  # Opened for both first, which never blocks; then only for reading, so that the supervisor's end is the end.
  exec 5<>"$job/done"; exec 6<"$job/done"; exec 5>&-
  cat <&6 >/dev/null
  exec 6<&-
}
[ -e "$job/pid" ] || { echo "no such job" >&2; exit 44; }
"""

# Finds the job's processes by the mark in their environment, by session (when $leader is given) and by
# parent, kills them all at once, and looks again until there are none.
KILL_TREE = """
uptime() { read -r up _ </proc/uptime; echo "$up"; }
list_tree() {
  tree=' '
  for path in $(grep -lzsF -- "GITMACHINE_JOB=$id" /proc/[0-9]*/environ); do
    path=${path#/proc/}; tree="$tree${path%/environ} "
  done
  grown=1
  while [ -n "$grown" ]; do
    grown=
    for path in /proc/[0-9]*/stat; do
      pid=${path#/proc/}; pid=${pid%/stat}
      case $tree in *" $pid "*) continue ;; esac
      stat=
      { while read -r line; do stat="$stat $line"; done <"$path"; } 2>/dev/null
      set -- ${stat##*) }
      case ${1:-Z} in Z|X) continue ;; esac
      if [ "$4" = "$leader" ]; then :; else case $tree in *" $2 "*) ;; *) continue ;; esac; fi
      tree="$tree$pid "; grown=1
    done
  done
  tree=${tree# }
}
kill_tree() {
  list_tree
  passes=0
  while [ -n "$tree" ] && [ "$passes" -lt 200 ]; do  # what is not ours to kill must not keep us for ever
    kill -s KILL $tree 2>/dev/null
    list_tree
    passes=$((passes + 1))
  done
}
"""

_SUPERVISE = (
    "id=$1 job=$2 timeout=$3 shell=$4 spawner=$5\n"
    + KILL_TREE
    + """
echo $$ >"$job/supervisor"
exec 5<>"$job/done"
input=$job/stdin holder= watchdog=
if [ ! -e "$input" ]; then
  input=$job/in
  exec 3<>"$job/in"; exec 4>"$job/in"; exec 3>&-; exec 6<>"$job/close"
  (exec 5>&-; read -r _ <&6) &
  holder=$!
  exec 4>&- 6>&-
fi
if [ -n "$timeout" ]; then
  setsid "$shell" -c 'sleep "$1"; : >"$2"; kill -s KILL -- "-$(cat "$3")"' watchdog \\
    "$timeout" "$job/timed_out" "$job/pid" 5>&- &
  watchdog=$!
fi
started=$(uptime)
GITMACHINE_JOB=$id setsid "$shell" -c '
  echo $$ >"$1/pid.new" && mv "$1/pid.new" "$1/pid" && kill -s KILL "$3" &&
    [ ! -e "$1/timed_out" ] && exec "$2" "$1/run" "$2" <"$4"
' job "$job" "$shell" "$spawner" "$input" >"$job/out" 2>"$job/err" 5>&-
code=$? late=0
[ -z "$watchdog" ] || kill -s KILL -- "-$watchdog"
if [ -e "$job/timed_out" ]; then
  leader=$(cat "$job/pid") code=124 late=1
  kill_tree
fi
[ -z "$holder" ] || kill "$holder"
echo "$code $late $started $(uptime)" >"$job/exit.new" && mv "$job/exit.new" "$job/exit"
"""
)

# The supervisor runs in the foreground of a shell that it kills once the command is under way. `&` would have
# been the plain way to leave it behind, but a shell starts what it puts in the background with SIGINT ignored
# for good, and then nothing could interrupt the command.
_SPAWN = """
id=$1 job=$HOME/.gitmachine/jobs/$1
for tool in setsid mkfifo grep base64; do
  command -v "$tool" >/dev/null || { echo "$tool is not installed" >&2; exit 45; }
done
shell=$(command -v sh)
[ -z "$BASH_VERSION" ] || shell=$(command -v bash)
mkdir -p -- "$HOME/.gitmachine/jobs" && mkdir -m 700 -p -- "$job" || exit 45
cat >"$job/run" && mkfifo -m 600 -- "$job/in" "$job/close" "$job/done" || exit 45
"$shell" -c 'setsid "$2" -c "$1" supervisor "$3" "$4" "$5" "$2" "$$"; exit 1' spawner \\
  "$3" "$shell" "$id" "$job" "$2" </dev/null >/dev/null 2>&1
[ -e "$job/pid" ] || { echo "the command could not be started" >&2; exit 45; }
"""

_KEEP_STDIN = """
mkdir -p -- "$HOME/.gitmachine/jobs" && mkdir -m 700 -- "$HOME/.gitmachine/jobs/$1" &&
  cat >"$HOME/.gitmachine/jobs/$1/stdin"
"""

_OUTPUT = """
ended=1; if alive; then ended=0; fi
file=$job/$2
echo "$ended $(($(wc -c <"$file")))"
tail -c "+$3" -- "$file" | head -c "$4" | base64
"""

_WAIT = """
wait_for_end
cat "$job/exit" 2>/dev/null || echo lost
cat "$job/out"; cat "$job/err" >&2
"""

_WRITE = """
[ ! -e "$job/closed" ] && [ ! -e "$job/stdin" ] && alive || exit 46
exec 3<>"$job/in"; exec 4>"$job/in"; exec 3>&-
cat >&4 || exit 46
"""

_CLOSE = """
[ ! -e "$job/stdin" ] || exit 0
: >"$job/closed"
echo 1<>"$job/close"
"""

_INTERRUPT = """
if alive; then kill -s INT -- "-$(cat "$job/pid")"; fi
exit 0
"""

_KILL = (
    KILL_TREE
    + """
leader=
if alive; then leader=$(cat "$job/pid"); fi
kill_tree
echo 1<>"$job/close"  # for a holder whose supervisor is no more
wait_for_end
"""
)

NO_SUCH_JOB, NOT_STARTED, NO_STDIN = 44, 45, 46


def script(body: str, *values: str) -> str:
    """A constant script with its values as positional parameters, quoted."""
    return f"set -- {shlex.join(values)}\n{body}"


def spawn(job_id: str, timeout: float | None) -> str:
    """Starts the job whose `run` script is the standard input. The exit code is NOT_STARTED if it cannot."""
    return script(_SPAWN, job_id, "" if timeout is None else f"{timeout:.3f}", _SUPERVISE)


def keep_stdin(job_id: str) -> str:
    """Makes the job's directory with the standard input of the future command, taken from its own."""
    return script(_KEEP_STDIN, job_id)


def run(job_id: str, command: str, env: Mapping[str, str]) -> str:
    """The job's `run` script: becomes `env … shell -c command`, so that any name and value can be passed."""
    variables = [f"{name}={value}" for name, value in env.items()] + [f"GITMACHINE_JOB={job_id}"]
    return f'exec {shlex.join(["env", "--", *variables])} "$1" -c {shlex.quote(command)}\n'


def find(job_id: str) -> str:
    """Exits with NO_SUCH_JOB, or 0."""
    return script(_PRELUDE, job_id)


def output(job_id: str, file: str, after: int, limit: int) -> str:
    """Prints "<1 when ended> <size>", then at most `limit` bytes from offset `after` in base64."""
    return script(_PRELUDE + _OUTPUT, job_id, file, str(after + 1), str(limit))


def wait(job_id: str) -> str:
    """Waits for the end, without polling; prints the `exit` line (or "lost"), then both outputs."""
    return script(_PRELUDE + _WAIT, job_id)


def write(job_id: str) -> str:
    """Passes its standard input on. Exits with NO_STDIN when the job does not take any."""
    return script(_PRELUDE + _WRITE, job_id)


def close(job_id: str) -> str:
    """Lets the job see the end of its standard input."""
    return script(_PRELUDE + _CLOSE, job_id)


def interrupt(job_id: str) -> str:
    """Sends SIGINT to the job's process group, if it still runs."""
    return script(_PRELUDE + _INTERRUPT, job_id)


def running(job_id: str) -> str:
    """Exits with 0 when the job runs, with 1 when it has ended."""
    return script(_PRELUDE + "alive || exit 1\n", job_id)


def kill(job_id: str) -> str:
    """Kills the job's whole tree and waits until its end is recorded."""
    return script(_PRELUDE + _KILL, job_id)
