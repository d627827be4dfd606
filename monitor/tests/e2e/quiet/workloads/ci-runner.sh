# A job of a CI system: a repository is cloned, built, its tests are run, and what was built is run and packed.
set -eu
export HOME=/root
git config --global user.name shop
git config --global user.email shop@shop.example
git config --global init.defaultBranch main
cp -r /opt/project /srv/upstream
cd /srv/upstream
git init --quiet
git add .
git commit --quiet --message 'A sum'
mkdir /srv/job
git clone --quiet /srv/upstream /srv/job/project
cd /srv/job/project
make --silent --jobs 2
make --silent check
make --silent install DESTDIR=/srv/job/root
/srv/job/root/usr/bin/sum 1 2
for number in $(seq 100); do ./sum $number $number >>results; done
[ "$(tail -n 1 results)" = 200 ]
sha256sum sum results >sums
tar -czf /srv/job/artifact.tar.gz -C /srv/job root
[ -n "$(git status --short)" ]
git clean --quiet --force -x -d
touch /outcome/finished
