# Tells what the repository at $GM_REPO has in branches and stash, and packs what the host does not have.
# $GM_KNOWN is the answer the host had last time; $GM_BASES are commits that the host has, a line each.
# Answers: "head SHA REF" (either may be -), "ref SHA NAME" …, then "same", or "pack BASE64" or "packfile PATH".
set -u
umask 077
unset GIT_DIR GIT_WORK_TREE
export GIT_DIR="$GM_REPO/.git"
[ -d "$GIT_DIR" ] || { echo "there is no .git directory" >&2; exit 72; }
sha=$(git rev-parse -q --verify 'HEAD^{commit}' || echo -)
ref=$(git symbolic-ref -q HEAD || echo -)
refs=$(git for-each-ref --format='ref %(objectname) %(refname)' refs/heads) || exit 73
# All stashes but the newest live in its reflog only.
stashes=$(git log -g --format=%H refs/stash -- 2> /dev/null | awk '{ print "ref " $1 " refs/stash/" NR - 1 }')
state="head $sha $ref
$refs
$stashes"
printf '%s\n' "$state" | grep .
if [ "$(git config --bool core.sparseCheckout)" = true ]; then
    printf 'sparse '
    git ls-files -t -z | base64 | tr -d '\n'
    echo
fi
[ "$state" = "$GM_KNOWN" ] && { echo same; exit 0; }
tips=$(printf '%s\n' "$state" | awk 'NF && $2 != "-" { print $2 }' | sort -u)
[ -n "$tips" ] || { echo same; exit 0; }
pack="$HOME/.gitmachine/history.pack"
mkdir -p "$HOME/.gitmachine"
bases=
for base in $GM_BASES; do
    git cat-file -e "$base^{commit}" 2> /dev/null && bases="$bases
^$base"
done
printf '%s\n%s\n' "$tips" "$bases" | git pack-objects -q --revs --thin --delta-base-offset --stdout > "$pack" || exit 74
if [ "$(wc -c < "$pack")" -le "$GM_INLINE_BYTES" ]; then
    printf 'pack '
    base64 < "$pack" | tr -d '\n'
    echo
    rm -f "$pack"
else
    echo "packfile $pack"
fi
