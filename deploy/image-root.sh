#!/bin/sh
# image-root.sh DIR PROGRAM...: the root of an image with the programs in
# /usr/bin, the libraries that they load, and a user.
set -eu
root=$1
shift
mkdir -p "$root/usr/bin" "$root/usr/lib" "$root/lib64" "$root/etc" \
  "$root/tmp"
chmod 1777 "$root/tmp"
for program; do
  strip -o "$root/usr/bin/$(basename "$program")" "$program"
  # "libx.so.1 => /lib/.../libx.so.1 (0x...)", or the loader's path alone.
  ldd "$program" | awk '$2 == "=>" {print $3} $1 ~ /^\// {print $1}'
done | sort -u | while read -r library; do
  case $library in
    */ld-linux*) cp -L "$library" "$root/lib64/" ;;
    *) cp -L "$library" "$root/usr/lib/" ;;
  esac
done
ln -s usr/lib "$root/lib"
echo 'streamnorm:x:65532:65532::/data:/usr/sbin/nologin' >"$root/etc/passwd"
echo 'streamnorm:x:65532:' >"$root/etc/group"
# Names of hosts: a file first, then the network's own.
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
