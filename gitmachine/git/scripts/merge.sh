# Merges $GM_SHA into what is checked out in $GM_REPO, after recording it as the remote's $GM_BRANCH.
# Answers "head SHA" and, when there are conflicts, "conflicts BASE64" (names, NUL-separated).
set -u
unset GIT_DIR GIT_WORK_TREE
cd -- "$GM_REPO" || exit 72
if [ -n "$GM_PACK" ]; then
    git index-pack --stdin --fix-thin < "$GM_PACK" > /dev/null || exit 74
    rm -f -- "$GM_PACK"
fi
git update-ref -m "$GM_REASON" "refs/remotes/origin/$GM_BRANCH" "$GM_SHA" || exit 73
git merge -q --no-edit "$GM_SHA" >&2
code=$?
echo "head $(git rev-parse -q --verify HEAD || echo -)"
conflicts=$(git diff --name-only --diff-filter=U -z | base64 -w 0)
[ -n "$conflicts" ] && { echo "conflicts $conflicts"; exit 0; }
exit $code
