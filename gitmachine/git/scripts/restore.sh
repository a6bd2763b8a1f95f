# Changes files of the working tree at $GM_REPO as the host says, without the repository there: neither its
# index nor its configuration has a part in it. $GM_INPUT holds, one after another, lists of paths (NUL-separated,
# relative) of as many bytes as $GM_SIZES says: directories that must be writable; files to delete; directories
# that may have become empty; directories that must be there; files that are new; .gitattributes among the files to
# write; the files to write, as `update-index --index-info` reads them. The rest is a pack of their contents.
# What is in the way of a new file was not in the working tree as git sees it, ignored or a repository's own: it is
# moved to $GM_ASIDE and never overwritten. Answers "aside BASE64", their names.
set -u
umask 022
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
cd -- "$GM_REPO" || exit 72
export GIT_DIR="$HOME/.gitmachine/restore.git" GM_ASIDE
set -- $GM_SIZES
offset=0
cut_next() { # the next $1 bytes of the input
    tail -c "+$((offset + 1))" "$GM_INPUT" | head -c "$1"
}
each='for path; do'
writable="$each"'
    if [ -d "$path" ] && [ ! -L "$path" ] && { [ ! -w "$path" ] || [ ! -x "$path" ]; }; then chmod u+rwx "$path" || exit 1; fi
done'
aside='
    case $path in */*) above=${path%/*} ;; *) above=. ;; esac
    mkdir -p "$GM_ASIDE/$above" && mv "$path" "$GM_ASIDE/$path" && printf "%s\000" "$path" || exit 1
done'
in_the_way="$each"'
    if [ ! -L "$path" ] && [ ! -e "$path" ]; then continue; fi'"$aside"
no_directory="$each"'
    if [ -d "$path" ] && [ ! -L "$path" ]; then continue; fi
    if [ ! -L "$path" ] && [ ! -e "$path" ]; then continue; fi'"$aside"

cut_next "$1" | xargs -0 -r sh -c "$writable" sh || exit 75
offset=$((offset + $1)); shift
cut_next "$1" | xargs -0 -r rm -f -- || exit 75
offset=$((offset + $1)); shift
cut_next "$1" | xargs -0 -r rmdir -- 2> /dev/null
offset=$((offset + $1)); shift
{
    cut_next "$1" | xargs -0 -r sh -c "$no_directory" sh || exit 75
    offset=$((offset + $1)); shift
    cut_next "$1" | xargs -0 -r sh -c "$in_the_way" sh || exit 75
    offset=$((offset + $1)); shift
} > "$GM_INPUT.aside"
printf 'aside '
base64 < "$GM_INPUT.aside" | tr -d '\n'
echo
rm -f -- "$GM_INPUT.aside"

rm -rf "$GIT_DIR"
mkdir -p "$GIT_DIR/objects/info" "$GIT_DIR/objects/pack" "$GIT_DIR/refs"
printf 'ref: refs/heads/none\n' > "$GIT_DIR/HEAD"
printf '[core]\n\trepositoryformatversion = 0\n\tbare = false\n' > "$GIT_DIR/config"
printf %s "$GM_ALTERNATES" > "$GIT_DIR/objects/info/alternates"
if [ "$2" -gt 0 ]; then
    if [ -n "$GM_PACKED" ]; then
        tail -c "+$((offset + $1 + $2 + 1))" "$GM_INPUT" | git index-pack --stdin > /dev/null || exit 74
    fi
    attributes_at=$offset
    offset=$((offset + $1))
    cut_next "$2" | git update-index -z --index-info || exit 74
    offset=$attributes_at
    # How the others are written may depend on these.
    cut_next "$1" | git --work-tree=. checkout-index -f -z --stdin || exit 75
    git --work-tree=. checkout-index -f -a || exit 75
fi
rm -rf "$GIT_DIR"
rm -f -- "$GM_INPUT"
