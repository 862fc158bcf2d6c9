#!/bin/sh
# Starts a node without root's rights, in a container where it can write its data and its log file.
#
# A volume, or a host directory that does not exist when it is mounted, is made by the Docker daemon and belongs to root.
# Only root can give it away: that is all this script does as root. A log directory that already belongs to somebody keeps
# its owner and the node runs as that user, so whoever made ./logs on the host owns what is written there; the data then
# belongs to the same user.
#
# What goes wrong with a directory is told, and the node starts all the same: if it cannot write its log file, it says so
# and logs to the console alone; if it cannot write its data, it says so and ends. What goes wrong with dropping rights
# ends the container: no node runs as root. A container that was started as another user (docker run --user) has nothing
# to give away.
set -eu

# Nobody in particular, and above the ids that distributions give to people and services.
node_user=10001:10001

if [ "$(id -u)" -eq 0 ]; then
    log_dir=${LOG_DIR:-logs}
    data_dir=${DATA_DIR:-data}
    mkdir -p "$log_dir" || true
    owner=$(stat -c %u:%g "$log_dir" || echo "$node_user")
    if [ "${owner%:*}" -eq 0 ]; then
        owner=$node_user
        chown -R "$owner" "$log_dir" || true
    fi
    if [ "$data_dir" != memory ]; then
        mkdir -p "$data_dir" || true
        if [ "$(stat -c %u:%g "$data_dir")" != "$owner" ]; then
            chown -R "$owner" "$data_dir" || true
        fi
    fi
    # --no-new-privs: no program in the image, set-uid or not, gives root's rights back.
    set -- setpriv --reuid="${owner%:*}" --regid="${owner#*:}" --clear-groups --no-new-privs -- "$@"
fi
exec "$@"
