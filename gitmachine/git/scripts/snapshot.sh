# Brings the working tree $GM_WORK_TREE into the git directory $GM_GIT_DIR, which is not the repository's own,
# and says which tree it is. Nothing in the working tree is written or run. $GM_HAVE is a tree that the host has.
# Answers, a line each: "tree SHA", then "nested BASE64" when there are repositories inside the repository (the
# raw difference to $GM_HAVE), else "pack BASE64" or "packfile PATH"; "trouble BASE64" for what git said.
set -u
umask 077
export GIT_DIR="$GM_GIT_DIR" GIT_WORK_TREE="$GM_WORK_TREE"

prepare() {
    mkdir -p "$GIT_DIR/objects/info" "$GIT_DIR/objects/pack" "$GIT_DIR/refs"
    printf 'ref: refs/heads/none\n' > "$GIT_DIR/HEAD"
    printf '[core]\n\trepositoryformatversion = 0\n\tbare = false\n' > "$GIT_DIR/config"
    printf %s "$GM_ALTERNATES" > "$GIT_DIR/objects/info/alternates"
    # Just after a checkout of our own the repository's index knows the state of every file: reading 20,000 files
    # again would only find the same.
    if [ "${GM_ADOPT_INDEX:-}" = yes ]; then cp -p "$GM_WORK_TREE/.git/index" "$GIT_DIR/index" 2> /dev/null; fi
    :
}

# Leaves what was added or removed in $added; nothing there means that the tree is the same as the last time.
add() {
    [ -e "$GIT_DIR/index.lock" ] && rm -f "$GIT_DIR/index.lock"
    if added=$(git add -A -v --ignore-errors . 2> "$GIT_DIR/gm.trouble"); then return; fi
    # The index of an earlier, interrupted capture may be broken; it is only a cache.
    if ! git ls-files > /dev/null 2>&1; then
        rm -f "$GIT_DIR/index"
        added=all
        git add -A --ignore-errors . 2> "$GIT_DIR/gm.trouble" && return
    fi
    only_unreadable
}

# A file that cannot be read is left out and named. What a full disk keeps out would be lost without a word, for
# the words need the disk, too.
only_unreadable() {
    full='No space left|Disk quota exceeded|File too large|Read-only file system|unable to write'
    if [ -s "$GIT_DIR/gm.trouble" ] && ! grep -qE "$full" "$GIT_DIR/gm.trouble"; then return; fi
    cat "$GIT_DIR/gm.trouble" >&2
    echo "git add could not keep all files: is the disk full?" >&2
    exit 75
}

# What the host has cannot always be found here: the repository's own objects may have been deleted.
difference() {
    have=$GM_HAVE
    git cat-file -e "$have^{tree}" 2> /dev/null || have=4b825dc642cb6eb9a060e54bf8d69288fbee4904
    git diff-tree -r -t --no-renames --raw "$@" "$have" "$tree"
}

write_tree() {
    if [ -z "$added" ] && [ -f "$GIT_DIR/gm.tree" ]; then read -r tree < "$GIT_DIR/gm.tree" && return; fi
    if ! tree=$(git write-tree 2> /dev/null); then
        rm -f "$GIT_DIR/index" "$GIT_DIR/objects/info/alternates"
        add
        tree=$(git write-tree) || exit 70
    fi
    echo "$tree" > "$GIT_DIR/gm.tree"
}

answer_pack() {
    printf '%s\n^%s\n' "$tree" "$GM_HAVE" | git pack-objects -q --revs --thin --delta-base-offset --stdout \
        > "$GIT_DIR/gm.pack" 2> /dev/null ||
        echo "$tree" | git pack-objects -q --revs --stdout > "$GIT_DIR/gm.pack" || exit 71
    if [ "$(wc -c < "$GIT_DIR/gm.pack")" -le "$GM_INLINE_BYTES" ]; then
        printf 'pack '
        base64 -w 0 < "$GIT_DIR/gm.pack"
        echo
    else
        echo "packfile $GIT_DIR/gm.pack"
    fi
}

answer_trouble() {
    if [ -s "$GIT_DIR/gm.trouble" ]; then
        printf 'trouble '
        head -c 20000 "$GIT_DIR/gm.trouble" | base64 -w 0
        echo
    fi
}

case "$GM_STEP" in
    tree)
        [ -f "$GIT_DIR/config" ] || prepare
        add
        # An added file whose record was lost in a crash would otherwise be missed for ever.
        [ -n "$added" ] && rm -f "$GIT_DIR/gm.tree"
        write_tree
        echo "tree $tree"
        answer_trouble
        [ "$tree" = "$GM_HAVE" ] && exit 0
        # Of a repository inside this one git takes the name only, and says so with a slash: add 'sub/'.
        case $added in *"/'"*) : > "$GIT_DIR/gm.nested" ;; esac
        if [ -f "$GIT_DIR/gm.nested" ] && difference | grep -q '^:[0-9]* 160000 '; then
            printf 'nested '
            difference -z | base64 -w 0
            echo
        elif [ ! -s "$GIT_DIR/gm.trouble" ] || ! grep -q 'not have a commit checked out' "$GIT_DIR/gm.trouble"; then
            answer_pack
        fi
        ;;
    nested) # the files of the repository at $GM_PATH, as a tree
        GIT_WORK_TREE="$GM_WORK_TREE/$GM_PATH"
        GIT_INDEX_FILE="$GIT_DIR/gm.nested.$(printf %s "$GM_PATH" | git hash-object --stdin)"
        export GIT_INDEX_FILE
        rm -f "$GIT_INDEX_FILE.lock"
        git add -A --ignore-errors . 2> "$GIT_DIR/gm.trouble" || only_unreadable
        tree=$(git write-tree) || exit 70
        echo "tree $tree"
        answer_trouble
        printf 'nested '
        git ls-tree -r -z "$tree" | base64 -w 0
        echo
        ;;
    graft) # $GM_TREE with the tree $GM_SUBTREE at $GM_PATH in place of what is there
        GIT_INDEX_FILE="$GIT_DIR/gm.graft"
        export GIT_INDEX_FILE
        rm -f "$GIT_INDEX_FILE" "$GIT_INDEX_FILE.lock"
        git read-tree "$GM_TREE" || exit 70
        git update-index --force-remove -- "$GM_PATH" || exit 70
        git read-tree --prefix="$GM_PATH/" "$GM_SUBTREE" || exit 70
        tree=$(git write-tree) || exit 70
        echo "tree $tree"
        ;;
    pack)
        tree=$GM_TREE
        answer_pack
        ;;
esac
