# Brings the working tree $GM_WORK_TREE into the git directory $GM_GIT_DIR, which is not the repository's own,
# and says which tree it is. Nothing in the working tree is written or run. $GM_HAVE is a tree that the host has,
# $GM_BASES are others that it has and that are surely here, the nearest first.
# Answers, a line each: "tree SHA", then "nested BASE64" when there are repositories inside the repository (the
# raw difference to what the host has), else "pack BASE64" or "packfile PATH"; "trouble BASE64" for what git said.
#
# gm.index says what the index is known to hold: the name of a tree, or a mark of the host's; while that is being
# changed, "?" is in front of it. $GM_MARK is what the host has seen there when $GM_HAVE was in it. Then, and when no more than
# $GM_FEW files have changed, the answer is "few", an "entry MODE SHA 0 PATH" or "gone PATH" each and "blobs
# BASE64", the new objects' files one behind another; the host makes the tree, and $GM_NEXT is the mark for it.
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
    if [ "${GM_ADOPT_INDEX:-}" = yes ]; then
        cp -p "$GM_WORK_TREE/.git/index" "$GIT_DIR/index" 2> /dev/null || return 0
        : > "$GIT_DIR/gm.fresh"
        [ -z "${GM_YOUNG:-}" ] || note_time
    fi
}

# Git may then write as an object what is only readable elsewhere. Sessions share what they have in common.
forget_time() {
    [ -s "$GIT_DIR/gm.fresh" ] && touch -c -r "$GIT_DIR/gm.fresh" "$GIT_DIR/index"
    rm -f "$GIT_DIR/gm.fresh"
    trap 'git prune-packed -q 2> /dev/null' EXIT
}

# Leaves what was added or removed in $added; nothing there means that the tree is the same as the last time.
# What the index held before is in $before, which nobody knows from now on until it is written again: an added file
# whose record was lost in a crash would otherwise be missed for ever.
add() {
    before=
    if [ -f "$GIT_DIR/gm.index" ]; then
        read -r before < "$GIT_DIR/gm.index"
        printf '?' 1<> "$GIT_DIR/gm.index"
    fi
    case $before in '?'*) before= ;; esac
    [ -e "$GIT_DIR/index.lock" ] && rm -f "$GIT_DIR/index.lock"
    # Beside the machine only what differs from a large index is written, and not all of it for each changed file. From
    # within, nobody knows whose git it is: one before 2.20 can miss a change in it.
    split=
    [ -z "$GM_FEW" ] || split='-c core.splitIndex=true -c splitIndex.sharedIndexExpire=1.hour.ago'
    if added=$(git $split add -A -v --ignore-errors . 2> "$GIT_DIR/gm.trouble"); then return; fi
    # The index of an earlier, interrupted capture may be broken; it is only a cache.
    if ! git ls-files > /dev/null 2>&1; then
        rm -f "$GIT_DIR/index"
        before=
        added=all
        git add -A --ignore-errors . 2> "$GIT_DIR/gm.trouble" && return
    fi
    only_unreadable
}

# In place where it is as long as what was there: cutting a file off costs more than all the rest here.
note() {
    if [ "${#before}" = "${#1}" ]; then echo "$1" 1<> "$GIT_DIR/gm.index"; else echo "$1" > "$GIT_DIR/gm.index"; fi
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
    for have in $GM_HAVE $GM_BASES 4b825dc642cb6eb9a060e54bf8d69288fbee4904; do
        git cat-file -e "$have^{tree}" 2> /dev/null && break
    done
    git diff-tree -r -t --no-renames --raw "$@" "$have" "$tree"
}

write_tree() {
    if [ -z "$added" ]; then
        case $before in
            '') ;;
            "$GM_MARK") tree=$GM_HAVE && note "$tree" && return ;;
            *[!0-9a-f]*) ;;
            *) tree=$before && note "$before" && return ;;
        esac
    fi
    if ! tree=$(git write-tree 2> /dev/null); then
        rm -f "$GIT_DIR/index" "$GIT_DIR/objects/info/alternates"
        add
        tree=$(git write-tree) || exit 70
    fi
    note "$tree"
}

# Fails, with nothing said, when the host could not make the tree by itself.
answer_few() {
    [ "$before" = "$GM_MARK" ] && [ ! -s "$GIT_DIR/gm.trouble" ] || return 1
    [ "${#added}" -le 8000 ] || return 1
    set -f
    IFS='
'
    set -- $added
    [ "$#" -le "$GM_FEW" ] || return 1
    kept=
    gone=
    for line; do
        name=${line#*\'}
        name=${name%\'}
        case $name in *[!A-Za-z0-9._/+=@,\ -]* | */) return 1 ;; esac
        case $line in
            "add '$name'") kept="$kept$name$IFS" ;;
            "remove '$name'") gone="$gone$name$IFS" ;;
            *) return 1 ;;
        esac
    done
    set -- $kept
    count=$#
    entries=
    [ "$count" = 0 ] || entries=$(GIT_LITERAL_PATHSPECS=1 git ls-files -s -- "$@") || return 1
    set -- $entries
    [ "$#" = "$count" ] || return 1
    files=
    for entry; do
        sha=${entry#* }
        sha=${sha%% *}
        file="$GIT_DIR/objects/${sha%"${sha#??}"}/${sha#??}"
        [ -f "$file" ] && files="$files$file$IFS"
    done
    echo few
    [ -z "$entries" ] || printf 'entry %s\n' $entries
    [ -z "$gone" ] || printf 'gone %s\n' $gone
    if [ -n "$files" ]; then
        printf 'blobs '
        head -q -c "$GM_BLOB_BYTES" $files | base64 -w 0
        echo
    fi
    note "$GM_NEXT"
}

answer_pack() {
    for have in $GM_HAVE $GM_BASES ''; do
        printf '%s\n%s\n' "$tree" "${have:+^$have}" | git pack-objects -q --revs --thin --delta-base-offset \
            --stdout > "$GIT_DIR/gm.pack" 2> /dev/null && break
        [ -n "$have" ] || exit 71
    done
    if [ "$(wc -c < "$GIT_DIR/gm.pack")" -le "$GM_INLINE_BYTES" ]; then
        printf 'pack '
        base64 -w 0 < "$GIT_DIR/gm.pack"
        echo
    else
        # Under a name of its own: the next command may leave another before the host has fetched this one.
        find "$GIT_DIR" -maxdepth 1 -name 'gm.*.pack' -mmin +5 -exec rm -f {} +
        mv "$GIT_DIR/gm.pack" "$GIT_DIR/gm.$tree.pack"
        echo "packfile $GIT_DIR/gm.$tree.pack"
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
    prepare) # before anybody else has touched the working tree
        prepare
        if [ -f "$GIT_DIR/index" ]; then echo "$GM_NEXT" > "$GIT_DIR/gm.index"; fi
        ;;
    tree)
        [ -f "$GIT_DIR/config" ] || prepare
        if [ -f "$GIT_DIR/gm.fresh" ]; then
            if [ -n "${GM_YOUNG:-}" ] && note_changed 2> /dev/null; then trap looked EXIT; else forget_time; fi
        fi
        add
        if [ -n "$GM_FEW" ] && [ -n "$added" ] && (answer_few); then exit 0; fi
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
