# Puts a repository at $GM_REPO with $GM_BRANCH checked out at $GM_COMMIT (empty: a branch without commits).
# Standard input is the packed-refs file. $GM_CONFIG is the text of the repository's configuration.
# $GM_ALTERNATES has one object directory a line; $GM_PACKS is a directory with bundles to index, or empty.
# A repository that is there already is a warm spare of ours: its HEAD holds the commit it has checked out.
set -eu
mkdir -p -- "$GM_REPO"
cd -- "$GM_REPO"
spare=
if [ -d .git ]; then spare=$(cat .git/HEAD); else git init -q --template= .; fi
mkdir -p .git/objects/info
printf %s "$GM_ALTERNATES" > .git/objects/info/alternates
if [ -n "$GM_PACK" ]; then
    git --git-dir=.git index-pack --stdin < "$GM_PACK" > /dev/null
    rm -f -- "$GM_PACK"
fi
cat > .git/packed-refs
printf %s "$GM_CONFIG" > .git/config
printf 'ref: refs/heads/%s\n' "$GM_BRANCH" > .git/HEAD
if [ -n "$GM_COMMIT" ] && [ "$spare" != "$GM_COMMIT" ]; then git --git-dir=.git --work-tree=. reset -q --hard; fi
