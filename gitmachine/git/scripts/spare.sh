# Checks out $GM_COMMIT into ~/repo for a session that is yet to come, with HEAD detached at it.
set -eu
mkdir -p "$HOME/repo"
cd "$HOME/repo"
git init -q --template= .
mkdir -p .git/objects/info
printf %s "$GM_ALTERNATES" > .git/objects/info/alternates
printf '%s\n' "$GM_COMMIT" > .git/HEAD
git reset -q --hard
