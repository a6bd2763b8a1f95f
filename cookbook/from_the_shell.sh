#!/bin/sh
# How do I do all that from the command line? `sh from_the_shell.sh`, in a checkout without changes
set -eu
gitmachine run --session idea --keep -- "sed -i s/hello/goodbye/ hello.txt"
gitmachine run --session idea -- "rm -r src hello.txt" # not what was wanted
gitmachine log idea
gitmachine rewind 1 idea # an entry of its own: `gitmachine rewind 2 idea` would bring the mistake back

gitmachine fork other idea
gitmachine run --session other -- "echo everybody >> hello.txt"
gitmachine compare idea other --check "grep -q everybody hello.txt"

gitmachine apply other # as changes that are not committed; `merge` and `checkout` bring commits
git diff HEAD
for session in idea other; do gitmachine stop "$session" --no-push; done
