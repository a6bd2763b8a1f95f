# Tells what the repository at $GM_REPO has in branches and stashes, and packs what the host does not have.
# $GM_KNOWN is the answer the host had last time; $GM_BASES are commits that the host has, a line each.
# Answers: "head SHA REF" (either may be -), "ref SHA NAME" …, then "same", or "pack BASE64" or "packfile PATH"; before
# that "sparse BASE64" where files are left out, and "elsewhere" where the refs are another repository's.
set -u
umask 077
unset GIT_DIR GIT_WORK_TREE
export GIT_DIR="$GM_REPO/.git"
[ -d "$GIT_DIR" ] || { echo "there is no .git directory" >&2; exit 72; }
# Whatever else they are, a pipe for example, would hang every git command.
[ -f "$GIT_DIR/config" ] || { echo ".git/config is not a file" >&2; exit 72; }
[ -f "$GIT_DIR/HEAD" ] || { echo ".git/HEAD is not a file" >&2; exit 72; }
refs=$(git for-each-ref --format='ref %(objectname) %(refname)' refs/heads refs/stash) || exit 73
case $refs in *refs/stash)
    # All stashes but the newest live in its reflog only.
    stashes=$(git log -g --format=%H refs/stash -- | awk '{ print "ref " $1 " refs/stash/" NR - 1 }')
    refs=$(printf '%s\n' "$refs" | grep -v ' refs/stash$')
    refs="$refs
$stashes" ;;
esac
# Reading HEAD costs no process. A branch without commits is in it and not among the refs.
head=
read -r head < "$GIT_DIR/HEAD" || [ -n "$head" ] || { echo ".git/HEAD cannot be read" >&2; exit 73; }
case $head in
    "ref: "*)
        ref=${head#ref: }
        sha=
        case "$refs
" in
            *" $ref
"*)
                sha="$refs
"
                sha=${sha%%" $ref
"*}
                sha=${sha##*"ref "}
                ;;
        esac
        ;;
    *)
        ref=-
        sha=$(git rev-parse -q --verify 'HEAD^{commit}') || { echo "HEAD is not a commit: $head" >&2; exit 73; }
        ;;
esac
state="head ${sha:--} $ref
$refs"
printf '%s\n' "$state"
[ -e "$GIT_DIR/commondir" ] && echo elsewhere
if [ -f "$GIT_DIR/info/sparse-checkout" ] && [ "$(git config --bool core.sparseCheckout)" = true ]; then
    printf 'sparse '
    git ls-files -t -z | base64 -w 0
    echo
fi
[ "$state" = "$GM_KNOWN" ] && { echo same; exit 0; }
tips=$(printf '%s\n' "$state" | awk 'NF && $2 != "-" { print $2 }' | sort -u)
[ -n "$tips" ] || { echo same; exit 0; }
pack="$HOME/.gitmachine/history.$$.pack"
mkdir -p "$HOME/.gitmachine"
bases=
for base in $GM_BASES; do
    git cat-file -e "$base^{commit}" 2> /dev/null && bases="$bases
^$base"
done
# An empty line would end what pack-objects reads.
printf '%s%s\n' "$tips" "$bases" | git pack-objects -q --revs --thin --delta-base-offset --stdout > "$pack" || exit 74
if [ "$(wc -c < "$pack")" -le "$GM_INLINE_BYTES" ]; then
    printf 'pack '
    base64 -w 0 < "$pack"
    echo
    rm -f "$pack"
else
    # The next command may leave another before the host has fetched this one.
    find "$HOME/.gitmachine" -maxdepth 1 -name 'history.*.pack' -mmin +5 -exec rm -f {} +
    echo "packfile $pack"
fi
