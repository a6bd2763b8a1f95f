# Puts the commit $GM_NEW, which comes in $GM_MADE (a pack, base64), into the repository at $GM_REPO and moves the branch $GM_BRANCH from
# $GM_OLD (empty: the branch is new) to it. When that branch is checked out, standard input, as
# `update-index -z --index-info` reads it, is put into the index; everything else in the index stays as it is.
set -eu
unset GIT_DIR GIT_WORK_TREE
export GIT_DIR="$GM_REPO/.git"
[ -d "$GIT_DIR" ] || { echo "there is no .git directory" >&2; exit 72; }
if [ -n "$GM_PACK" ]; then
    git unpack-objects -q < "$GM_PACK"
    rm -f -- "$GM_PACK"
fi
printf %s "$GM_MADE" | base64 -d | git unpack-objects -q
git update-ref -m "$GM_REASON" "refs/heads/$GM_BRANCH" "$GM_NEW" "$GM_OLD"
read -r head < "$GIT_DIR/HEAD" || [ -n "$head" ]
[ "$head" = "ref: refs/heads/$GM_BRANCH" ] || exit 0
if [ -e "$GIT_DIR/index.lock" ]; then
    # Somebody died in the middle of a git command. Their lock stays theirs; the index is replaced as a whole.
    cp -p "$GIT_DIR/index" "$GIT_DIR/index.gitmachine"
    GIT_INDEX_FILE="$GIT_DIR/index.gitmachine" git update-index -z --index-info
    mv "$GIT_DIR/index.gitmachine" "$GIT_DIR/index"
else
    git update-index -z --index-info
fi
