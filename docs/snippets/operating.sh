gitmachine run --session nightly -- "echo work > work.txt"
# --8<-- [start:look]
gitmachine doctor           # what works on this host, and how to mend what does not
gitmachine ls --all         # every session of this state directory, ended ones too
gitmachine gc --dry-run     # what nobody holds any more, and why; without --dry-run it goes
# --8<-- [end:look]
# --8<-- [start:backup]
state=${GITMACHINE_HOME:-$HOME/.local/state/gitmachine} # for root /var/lib/gitmachine
tar -C "$state" -czf backup.tar.gz vaults sessions
# --8<-- [end:backup]
# --8<-- [start:restore]
export GITMACHINE_HOME="$PWD/restored"
mkdir -m 711 "$GITMACHINE_HOME"
tar -C "$GITMACHINE_HOME" -xzf backup.tar.gz
gitmachine verify nightly # the whole history, object by object, against the event log
gitmachine resume nightly # goes on from the last checkpoint, on a new machine
gitmachine stop nightly
# --8<-- [end:restore]
