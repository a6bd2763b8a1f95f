# In front of "snapshot.sh", for the first looks at a large working tree.
#
# Git tells times by the second: what was written in the same one as the index it reads again, and writes as an object
# again that is only readable elsewhere. After a checkout that is all there is. So until that second is over we find out
# what has changed since the time that gm.fresh bears, by when the inode did, which nobody can set, and the index is
# dated ahead for git. Fails, and git goes its own way, where that is as quick or the times cannot be trusted.
note_time() {
    [ "$(wc -c < "$GIT_DIR/index")" -gt 65536 ] || return
    echo large > "$GIT_DIR/gm.fresh"
    # The clock of files ticks: what changes from here on bears another time.
    is_past || sleep 0.02
    touch -r "$GIT_DIR/index" "$GIT_DIR/gm.fresh"
}

# Whether the index is some ticks older than gm.fresh.
is_past() {
    set -- $(stat -c %.9Y "$GIT_DIR/index" "$GIT_DIR/gm.fresh" 2> /dev/null) ''
    case "$1$2" in *[!0-9.]* | '') return 1 ;; esac
    [ "$((${2%.*}${2#*.} - ${1%.*}${1#*.}))" -gt 20000000 ]
}

# gm.fresh moves on only when the work is done, so whatever stops this one, the next begins where it did.
note_changed() {
    [ -s "$GIT_DIR/gm.fresh" ] || return 1
    touch -c -r "$GIT_DIR/gm.fresh" "$GIT_DIR/index"
    # A file system of whole seconds?
    case $(stat -c %.9Y "$GIT_DIR/gm.fresh") in *.000000000 | '') return 1 ;; esac
    find "$GIT_DIR/gm.fresh" -maxdepth 0 -cnewer "$GIT_DIR/gm.fresh" > /dev/null || return 1
    echo large > "$GIT_DIR/gm.look"
    sleep 0.02 || return 1
    git ls-files -z > "$GIT_DIR/gm.names" && sed -z 's|^|./|' < "$GIT_DIR/gm.names" > "$GIT_DIR/gm.paths" || return 1
    (cd "$GM_WORK_TREE" && xargs -0 sh -c '
        find "$@" -maxdepth 0 ! -type d -cnewer "$0" -print0 2> /dev/null
        [ $? -le 1 ]' "$GIT_DIR/gm.fresh" < "$GIT_DIR/gm.paths" > "$GIT_DIR/gm.changed") || return 1
    [ "$(tr -cd '\000' < "$GIT_DIR/gm.changed" | wc -c)" -le 1000 ] || return 1
    GIT_LITERAL_PATHSPECS=1 xargs -0 -r git ls-files -s -z -- < "$GIT_DIR/gm.changed" > "$GIT_DIR/gm.entries" || return 1
    touch -c -d '2 seconds' "$GIT_DIR/index" || return 1
    [ -s "$GIT_DIR/gm.entries" ] || return 0
    # As if nothing were known of how these files look.
    git update-index -z --index-info < "$GIT_DIR/gm.entries" && touch -c -d '2 seconds' "$GIT_DIR/index" && return
    return 1
}

# Later changes bear another second than the files that were not looked at.
looked() {
    [ "$?" = 0 ] || return
    touch -c -r "$GIT_DIR/gm.look" "$GIT_DIR/index"
    if [ "$(stat -c %Y "$GIT_DIR/gm.look")" -gt "$(stat -c %Y "$GIT_DIR/gm.fresh")" ]; then
        rm -f "$GIT_DIR/gm.fresh" "$GIT_DIR/gm.look"
    else
        mv "$GIT_DIR/gm.look" "$GIT_DIR/gm.fresh"
        echo young
    fi
}
