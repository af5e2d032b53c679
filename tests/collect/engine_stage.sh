#!/bin/bash
# A real container engine in namespaces of its own (the caller made them: mount, pid, net), with one container that runs librespot and
# one that would. Usage: engine_stage.sh ENGINE FOLDER LIBRESPOT COMMAND…; prints what COMMAND prints.
set -eu
engine=$1 folder=$2 librespot=$3
shift 3
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /run/podman
ip link set lo up
image=$folder/image
mkdir -p "$image/usr/bin" "$image/bin" "$image/tmp" "$image/etc" "$image/cache"
cp "$librespot" "$image/usr/bin/music"
ln -s music "$image/usr/bin/librespot"
ldd "$librespot" | grep -o '/[^ ]*' | sort -u | while read -r library; do
  mkdir -p "$image$(dirname "$library")"
  cp -L "$library" "$image$library"
done
echo 'hosts: files' > "$image/etc/nsswitch.conf"
case $engine in
docker)
  containerd --root "$folder/c" --state /run/c -a /run/c.sock > "$folder/containerd.log" 2>&1 &
  for _ in $(seq 100); do [ -S /run/c.sock ] && break; sleep 0.1; done
  dockerd --containerd /run/c.sock --data-root "$folder/d" --exec-root /run/e -p /run/d.pid -H unix:///run/docker.sock \
    --storage-driver overlay2 > "$folder/engine.log" 2>&1 &
  call() { docker -H unix:///run/docker.sock "$@"; }
  more=()
  ;;
podman)
  call() {
    podman --root "$folder/p" --runroot /run/p --runtime /usr/sbin/runc --cgroup-manager cgroupfs --events-backend none \
      --network-config-dir /run/networks --tmpdir /run/t "$@"
  }
  call system service --time 0 unix:///run/podman/podman.sock > "$folder/engine.log" 2>&1 &
  more=(--ulimit nofile=1024:4096 --ulimit nproc=1024:4096)
  ;;
esac
for _ in $(seq 100); do [ -S /run/docker.sock ] || [ -S /run/podman/podman.sock ] && call version > /dev/null 2>&1 && break; sleep 0.1; done
tar -C "$image" -c . | call import - guard-box:1 > /dev/null
call run -d --name kitchen "${more[@]}" -p 8080:37001 -p 127.0.0.1:9999:5353/udp --restart on-failure guard-box:1 \
  /usr/bin/music -n Kitchen -B pipe -d /dev/null -z 37001 --proxy http://me:SESAME@127.0.0.1:1 --disable-audio-cache > /dev/null
call create --name bath --network host -e LIBRESPOT_ZEROCONF_PORT=5000 guard-box:1 /usr/bin/librespot --name Bath --password SESAME > /dev/null
sleep 2
call logs kitchen > "$folder/kitchen.log" 2>&1 || true
"$@"
call rm -f kitchen bath > /dev/null
