# Gives the working tree at $GM_REPO the files of the tree $GM_TREE, whose objects come in the file $GM_PACK.
# HEAD, branches and index stay as they are; what was not committed is again what it was.
set -eu
cd -- "$GM_REPO"
git --git-dir=.git index-pack --stdin < "$GM_PACK" > /dev/null
rm -f -- "$GM_PACK"
git --git-dir=.git --work-tree=. restore --source="$GM_TREE" --worktree --no-overlay -- .
