# Stores the commits $GM_STASHES, one a line and the oldest first, as the stashes of the repository at $GM_REPO.
set -u
unset GIT_DIR GIT_WORK_TREE
cd -- "$GM_REPO" || exit 72
for stash in $GM_STASHES; do
    git stash store -q -m "$(git log -1 --format=%s "$stash")" "$stash"
done
