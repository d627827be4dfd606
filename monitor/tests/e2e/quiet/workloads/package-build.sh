# A package of Debian is built from its source, by a user who is not root, and then installed.
set -eu
useradd --create-home builder
cp -r /opt/project /home/builder/sum-1.0
chown -R builder /home/builder
su builder -c 'cd /home/builder/sum-1.0 && dpkg-buildpackage --build=binary --no-sign --no-check-builddeps --root-command=fakeroot'
dpkg --info /home/builder/sum_1.0_amd64.deb
touch /outcome/finished
