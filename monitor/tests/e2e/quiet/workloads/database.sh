# PostgreSQL with a cluster made at the start, as images do, under load of its own benchmark; with a back-up and maintenance meanwhile.
set -eu
as_postgres() { su postgres -c "$1"; }
pg_dropcluster 15 main
pg_createcluster 15 shop --start
as_postgres 'createdb shop'
as_postgres 'pgbench --initialize --scale 4 --quiet shop'
as_postgres 'pgbench --client 4 --jobs 2 --time 20 shop' &
for turn in 1 2 3 4; do
    sleep 4
    pg_isready --quiet
    as_postgres "psql --no-psqlrc --quiet --command 'select count(*) from pgbench_history' shop" >/dev/null
done
as_postgres 'pg_dump --format custom --file /var/lib/postgresql/shop.dump shop'
as_postgres 'vacuumdb --analyze --quiet shop'
as_postgres 'pg_basebackup --pgdata /var/lib/postgresql/copy --checkpoint fast'
wait
pg_ctlcluster 15 shop reload
pg_ctlcluster 15 shop stop
touch /outcome/finished
