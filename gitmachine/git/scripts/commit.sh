# Commits the tree of the snapshot that was just made in $GM_SHADOW, in the same request, so that the host need not
# come back for it: on $GM_BRANCH of the repository at $GM_REPO, over $GM_TIP. $GM_REST is the commit from the author
# on, in base64. Answers "made SHA"; or nothing, when there is nothing to commit or the host has to see to it.
set -eu
unset GIT_DIR GIT_WORK_TREE
export GIT_DIR="$GM_REPO/.git"
read -r head < "$GIT_DIR/HEAD"
[ "$head" = "ref: refs/heads/$GM_BRANCH" ] || exit 0
[ "$(git rev-parse -q --verify "refs/heads/$GM_BRANCH^{commit}")" = "$GM_TIP" ] || exit 0
if [ -e "$GIT_DIR/info/sparse-checkout" ] || [ -e "$GM_SHADOW/gm.nested" ] || [ -e "$GIT_DIR/index.lock" ]; then exit 0; fi
read -r tree < "$GM_SHADOW/gm.index"
case $tree in '' | *[!0-9a-f]*) exit 0 ;; esac
before=$(git rev-parse "$GM_TIP^{tree}")
[ "$tree" != "$before" ] || exit 0
# From ":MODE MODE SHA SHA STATUS", NUL, path to "MODE SHA", tab, path.
git diff-tree -r -z --no-renames --raw "$before" "$tree" |
    sed -z -E 'N; s/^:[0-7]+ ([0-7]+) [0-9a-f]+ ([0-9a-f]+) [A-Z]\x00/\1 \2\t/' > "$GM_SHADOW/gm.changes"
new=$({
    printf 'tree %s\nparent %s\n' "$tree" "$GM_TIP"
    printf %s "$GM_REST" | base64 -d
} | git hash-object -t commit -w --stdin)
git update-ref -m "$GM_REASON" "refs/heads/$GM_BRANCH" "$new" "$GM_TIP"
echo "made $new"
git update-index -z --index-info < "$GM_SHADOW/gm.changes"
