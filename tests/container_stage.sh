#!/bin/bash
# A real container engine in namespaces of its own (the caller made them: mount, pid, net), with one container that runs librespot and
# one that would, and with HOSTED set one on the host's network. The host is 192.168.10.2 on a cable to a phone.
# Usage: container_stage.sh ENGINE FOLDER LIBRESPOT COMMAND…; prints what COMMAND prints.
set -eu
engine=$1 folder=$2 librespot=$3
shift 3
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /run/podman
ip link set lo up
ip netns add phone
ip link add eth0 type veth peer name eth0 netns phone
ip address add 192.168.10.2/24 dev eth0
ip link set eth0 up
ip route add 224.0.0.0/4 dev eth0
ip -n phone link set eth0 up
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
if [ -n "${HOSTED:-}" ]; then
  call run -d --name porch "${more[@]}" --network host guard-box:1 /usr/bin/music -n Porch -B pipe -d /dev/null -z 37002 --disable-audio-cache > /dev/null
fi
sleep 2
call logs kitchen > "$folder/kitchen.log" 2>&1 || true
status=0
"$@" || status=$?
call rm -f kitchen bath ${HOSTED:+porch} > /dev/null
exit $status
