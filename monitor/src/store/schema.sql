-- One segment of Watchkeeper's history: an ordinary SQLite database that holds everything its events refer to.
--
-- PRAGMA user_version is the version of this schema, application_id is 0x574B5048 ("WKPH").
--
-- Names in the plural are views for reading: times as text in UTC, names instead of numbers, one row for what one would
-- ask about; `row` is the id in the table. Names in the singular are the tables below them: each thing is stored once, and referred to by its id.
--
-- Times are nanoseconds since 1970-01-01 UTC, by the node's clock of the moment. `boot_ns` is nanoseconds since boot.
-- Event numbers grow with each event and are never used twice; they may leave numbers out.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,  -- 'store', 'node', 'boot_id', 'created', 'closed', 'closed_boot_ns'
    value
) WITHOUT ROWID;

-- What a process runs: the same for all executions that differ in nothing but process, time and descriptors.
CREATE TABLE program (
    id INTEGER PRIMARY KEY,
    exe TEXT NOT NULL,              -- as the kernel resolved it
    argv TEXT NOT NULL,             -- JSON array; secrets are replaced by <redacted>
    cwd TEXT NOT NULL,
    filename TEXT NOT NULL,         -- as given to execve(2): claimed
    tty TEXT NOT NULL,              -- empty for none
    flags INTEGER NOT NULL,         -- 1 argv truncated, 2 exe truncated, 4 cwd truncated, 8 script, ...
    redacted INTEGER NOT NULL,      -- secrets cut out of argv
    seccomp INTEGER NOT NULL,       -- 0 off, 1 strict, 2 filter
    uid INTEGER NOT NULL, gid INTEGER NOT NULL, euid INTEGER NOT NULL, egid INTEGER NOT NULL,
    login_uid INTEGER, audit_session INTEGER,   -- NULL where none logged in
    cap_effective INTEGER NOT NULL, cap_permitted INTEGER NOT NULL,  -- bit n is capability n of linux/capability.h
    cap_inheritable INTEGER NOT NULL, cap_bounding INTEGER NOT NULL, cap_ambient INTEGER NOT NULL,
    mnt_ns INTEGER NOT NULL, pid_ns INTEGER NOT NULL, net_ns INTEGER NOT NULL, uts_ns INTEGER NOT NULL,
    ipc_ns INTEGER NOT NULL, cgroup_ns INTEGER NOT NULL, user_ns INTEGER NOT NULL,
    pid_ns_for_children INTEGER NOT NULL,
    host_ns INTEGER NOT NULL,       -- bits: which of mnt, pid and net are the host's
    inode INTEGER NOT NULL, device INTEGER NOT NULL,   -- device: major << 20 | minor
    links INTEGER NOT NULL, mode INTEGER NOT NULL, file_uid INTEGER NOT NULL, size INTEGER NOT NULL,
    changed_s INTEGER NOT NULL, changed_ns INTEGER NOT NULL,
    file_flags INTEGER NOT NULL,    -- 1 overlay, 2 upper layer, 4 layer unknown, 8 memfd, 16 tmpfs
    filesystem INTEGER NOT NULL,    -- magic number, linux/magic.h
    shell TEXT,                     -- what shell it is by its content ("bash"); empty for none, NULL where that is not known
    miner TEXT                      -- what miner of a currency likewise
);

CREATE TABLE process (
    id INTEGER PRIMARY KEY,
    pid INTEGER NOT NULL,           -- in the host's pid namespace
    start_ticks INTEGER NOT NULL,   -- clock ticks since boot: with the pid it names the process for a boot
    started INTEGER NOT NULL,
    ended INTEGER,                  -- NULL while it runs, or where its end was not seen
    status INTEGER,                 -- wait status, wait(2)
    carried INTEGER NOT NULL        -- 1 where it began before this segment: an earlier one may have it, too
);
CREATE INDEX process_pid ON process (pid);
CREATE INDEX process_carried ON process (id) WHERE carried;

-- A process with a program. A process that was forked and has not run a program has the one of its parent.
CREATE TABLE execution (
    id INTEGER PRIMARY KEY,
    process INTEGER NOT NULL REFERENCES process (id),
    program INTEGER NOT NULL REFERENCES program (id),
    boot_ns INTEGER NOT NULL,       -- when the program was run; 0 where that is not known
    executed INTEGER,
    source INTEGER NOT NULL,        -- 1 kernel, 2 procfs, 3 fork
    parent_pid INTEGER, parent_start_ticks INTEGER,
    pid_ns INTEGER, pid_inside INTEGER,         -- the process in its own pid namespace
    exec_pid_inside INTEGER NOT NULL,           -- the same of the process that ran the program
    stdio TEXT NOT NULL,            -- descriptors 0, 1 and 2 as KIND:INODE:DEVICE; kinds as in the API
    carried INTEGER NOT NULL,       -- as of a process
    container INTEGER NOT NULL REFERENCES container (id),
    origin INTEGER                  -- as of a lineage
);
CREATE INDEX execution_process ON execution (process);
CREATE INDEX execution_container ON execution (container);
CREATE INDEX execution_carried ON execution (id) WHERE carried;

-- An execution with its ancestors at some moment: a list, linked from the process up.
CREATE TABLE lineage (
    id INTEGER PRIMARY KEY,
    execution INTEGER NOT NULL REFERENCES execution (id),
    parent INTEGER REFERENCES lineage (id),
    container INTEGER REFERENCES container (id),
    origin INTEGER,                 -- 1 entrypoint, 2 descendant, 3 injected, 4 namespace entry, 5 unknown
    entered_by INTEGER REFERENCES execution (id)
);
CREATE INDEX lineage_execution ON lineage (execution);

CREATE TABLE pod (
    id INTEGER PRIMARY KEY,
    title TEXT,                     -- NAMESPACE/NAME, or its uid until its name is known
    uid TEXT, name TEXT, namespace TEXT,
    labels TEXT,                    -- JSON object
    workload TEXT,                  -- KIND/NAME of what it belongs to; NULL where the API server was not asked
    namespace_labels TEXT           -- JSON object; NULL likewise
);
CREATE INDEX pod_title ON pod (title);
-- Stands for no pod.
INSERT INTO pod (id) VALUES (0);

CREATE TABLE container (
    id INTEGER PRIMARY KEY,
    container_id TEXT,              -- the runtime's
    runtime INTEGER NOT NULL,       -- 0 unknown, 1 containerd, 2 cri-o, 3 docker, 4 podman, 5 buildah
    cgroup_path TEXT NOT NULL, cgroup_id INTEGER NOT NULL,
    init_pid INTEGER NOT NULL,
    first_seen INTEGER NOT NULL, ended INTEGER,
    metadata INTEGER NOT NULL,      -- 1 complete, 2 pending, 3 unavailable
    reason TEXT NOT NULL,
    name TEXT, image TEXT, image_digest TEXT,
    labels TEXT NOT NULL,           -- JSON object
    sandbox INTEGER NOT NULL,
    pod INTEGER NOT NULL REFERENCES pod (id),
    UNIQUE (container_id, cgroup_id)
);
CREATE INDEX container_pod ON container (pod);
CREATE INDEX container_name ON container (name);
-- Stands for no container.
INSERT INTO container VALUES (0, NULL, 0, '', 0, 0, 0, NULL, 0, '', NULL, NULL, NULL, '{}', 0, 0);

CREATE TABLE place (
    id INTEGER PRIMARY KEY,
    location INTEGER NOT NULL,      -- 1 host, 2 container, 3 unknown
    container INTEGER NOT NULL REFERENCES container (id),
    cgroup_path TEXT NOT NULL
);
CREATE INDEX place_container ON place (container);

-- What happened, without the numbers that differ each time: repeated activity is one row.
CREATE TABLE detail (
    id INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL REFERENCES kind (id),
    detail TEXT NOT NULL,           -- the field `detail` of an event of the API, in the JSON mapping of protobuf
    count INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL
);

CREATE TABLE event (
    number INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    kind INTEGER NOT NULL REFERENCES kind (id),
    lineage INTEGER REFERENCES lineage (id),
    place INTEGER NOT NULL REFERENCES place (id),
    detail INTEGER REFERENCES detail (id),
    -- JSON array. connect, accept, close: the ephemeral port, bytes sent and received, duration in nanoseconds. fork: pid,
    -- start in ticks, start after the event in nanoseconds. exit: wait status. dns: id. cpu-usage: used and interval in
    -- nanoseconds. loss: count.
    numbers TEXT
);
CREATE INDEX event_place ON event (place);

-- The process that something was done to.
CREATE TABLE target (
    number INTEGER PRIMARY KEY REFERENCES event (number),
    pid INTEGER NOT NULL, start_ticks INTEGER NOT NULL,
    execution INTEGER REFERENCES execution (id),
    place INTEGER REFERENCES place (id)
);

-- Which times a run of event numbers is of: clocks are set back, so that times need not grow with numbers.
CREATE TABLE chunk (
    first INTEGER PRIMARY KEY, last INTEGER NOT NULL,
    earliest INTEGER NOT NULL, latest INTEGER NOT NULL
);

-- Events that could not be stored, and times in which no agent ran.
CREATE TABLE gap (
    first INTEGER PRIMARY KEY, last INTEGER NOT NULL,
    count INTEGER NOT NULL, reason TEXT NOT NULL,
    -- Where no agent ran: its last sign of life, NULL where there is none, and when the next one had its sensors attached.
    since INTEGER, until INTEGER
);

-- Alerts that could not be stored, and the same times.
CREATE TABLE alert_gap (
    first INTEGER PRIMARY KEY, last INTEGER NOT NULL,
    count INTEGER NOT NULL, reason TEXT NOT NULL,
    since INTEGER, until INTEGER
);

CREATE TABLE alert (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL,               -- comes again where the severity has risen
    event INTEGER NOT NULL,         -- number of the event that caused it
    time INTEGER NOT NULL,
    last INTEGER NOT NULL, count INTEGER NOT NULL,
    rule TEXT NOT NULL,             -- id of the rule
    title TEXT NOT NULL,
    severity INTEGER NOT NULL,      -- 1 informational to 5 critical
    attempt INTEGER NOT NULL,       -- 1 where it was tried and failed
    policy TEXT NOT NULL,           -- file of the rule
    policy_set TEXT NOT NULL,       -- digest of the policies in force
    attack TEXT NOT NULL,           -- JSON
    message TEXT NOT NULL,
    facts TEXT NOT NULL,            -- JSON object
    claimed TEXT NOT NULL,          -- JSON array
    evidence TEXT NOT NULL,         -- JSON array of event numbers
    lineage INTEGER NOT NULL REFERENCES lineage (id),
    place INTEGER NOT NULL REFERENCES place (id),
    injected_by INTEGER REFERENCES execution (id)
);
CREATE INDEX alert_id ON alert (id);

CREATE TABLE kind (id INTEGER PRIMARY KEY, name TEXT NOT NULL);

-- What was known of a pod earlier, before its name or its workload came, is no row.
CREATE VIEW pods AS
SELECT title AS pod, uid, namespace, name, labels, workload, namespace_labels, id AS row FROM pod
WHERE id <> 0 AND id IN (SELECT pod FROM container);

CREATE VIEW containers AS
SELECT c.container_id AS id,
       CASE c.runtime WHEN 1 THEN 'containerd' WHEN 2 THEN 'cri-o' WHEN 3 THEN 'docker' WHEN 4 THEN 'podman'
                      WHEN 5 THEN 'buildah' ELSE 'unknown' END AS runtime,
       p.title AS pod, p.namespace, p.workload, c.name, c.image, c.image_digest,
       strftime('%Y-%m-%dT%H:%M:%S', c.first_seen / 1000000000, 'unixepoch') || printf('.%03dZ', c.first_seen / 1000000 % 1000) AS first_seen,
       strftime('%Y-%m-%dT%H:%M:%S', c.ended / 1000000000, 'unixepoch') || printf('.%03dZ', c.ended / 1000000 % 1000) AS ended,
       c.labels, p.uid AS pod_uid, p.labels AS pod_labels, c.sandbox, c.cgroup_path, c.id AS row
FROM container c JOIN pod p ON p.id = c.pod WHERE c.id <> 0;

CREATE VIEW processes AS
SELECT r.pid, r.start_ticks,
       strftime('%Y-%m-%dT%H:%M:%S', r.started / 1000000000, 'unixepoch') || printf('.%03dZ', r.started / 1000000 % 1000) AS started,
       strftime('%Y-%m-%dT%H:%M:%S', r.ended / 1000000000, 'unixepoch') || printf('.%03dZ', r.ended / 1000000 % 1000) AS ended,
       CASE WHEN r.status & 127 = 0 THEN r.status >> 8 & 255 END AS exit_code,
       nullif(r.status & 127, 0) AS exit_signal,
       x.parent_pid, x.pid_inside, g.exe, g.argv, g.euid AS uid, r.id AS row
FROM process r
JOIN execution x ON x.id = (SELECT max(id) FROM execution WHERE process = r.id)
JOIN program g ON g.id = x.program;

CREATE VIEW executions AS
SELECT strftime('%Y-%m-%dT%H:%M:%S', x.executed / 1000000000, 'unixepoch') || printf('.%03dZ', x.executed / 1000000 % 1000) AS time, x.executed AS time_ns,
       r.pid, x.parent_pid, g.exe, g.argv, g.cwd, g.euid AS uid, g.tty,
       p.title AS pod, c.name AS container, c.image,
       CASE x.origin WHEN 1 THEN 'entrypoint' WHEN 2 THEN 'descendant' WHEN 3 THEN 'injected' WHEN 4 THEN 'namespace-entry'
            WHEN 5 THEN 'unknown' END AS origin,
       g.cap_effective, g.inode, g.file_flags & 2 <> 0 AS upper_layer, g.file_flags & 8 <> 0 AS memfd,
       (SELECT value FROM meta WHERE name = 'boot') || '-' || r.pid || '-' || r.start_ticks || '-' || x.boot_ns AS exec_id,
       x.id AS row
FROM execution x
JOIN process r ON r.id = x.process
JOIN program g ON g.id = x.program
JOIN container c ON c.id = x.container
JOIN pod p ON p.id = c.pod
WHERE x.source <> 3;

CREATE VIEW events AS
SELECT e.number, strftime('%Y-%m-%dT%H:%M:%S', e.time / 1000000000, 'unixepoch') || printf('.%03dZ', e.time / 1000000 % 1000) AS time, e.time AS time_ns,
       k.name AS kind, r.pid, g.exe, g.argv, g.euid AS uid,
       CASE l.location WHEN 1 THEN 'host' WHEN 2 THEN 'container' ELSE 'unknown' END AS location,
       p.title AS pod, p.namespace, c.name AS container, c.container_id, c.image,
       d.detail, e.numbers
FROM event e
JOIN kind k ON k.id = e.kind
JOIN place l ON l.id = e.place
JOIN container c ON c.id = l.container
JOIN pod p ON p.id = c.pod
LEFT JOIN detail d ON d.id = e.detail
LEFT JOIN lineage n ON n.id = e.lineage
LEFT JOIN execution x ON x.id = n.execution
LEFT JOIN process r ON r.id = x.process
LEFT JOIN program g ON g.id = x.program;

CREATE VIEW connections AS
SELECT number, time, time_ns, kind, pid, exe, pod, container,
       lower(substr(detail ->> '$.connection.protocol', 10)) AS protocol,
       detail ->> '$.connection.local.address' AS local_address,
       coalesce(detail ->> '$.connection.local.port', numbers ->> '$[0]') AS local_port,
       detail ->> '$.connection.remote.address' AS remote_address,
       coalesce(detail ->> '$.connection.remote.port', numbers ->> '$[0]') AS remote_port,
       detail ->> '$.connection.remoteName' AS remote_name,
       lower(substr(detail ->> '$.connection.outcome', 9)) AS outcome,
       detail ->> '$.connection.error' AS error,
       numbers ->> '$[1]' AS bytes_sent, numbers ->> '$[2]' AS bytes_received, numbers ->> '$[3]' AS duration_ns,
       detail ->> '$.connection.path' AS path
FROM events WHERE kind IN ('connect', 'accept', 'close');

CREATE VIEW dns AS
SELECT number, time, time_ns, pid, exe, pod, container,
       coalesce(detail ->> '$.dns.answer', 0) AS answer, detail ->> '$.dns.name' AS name, detail ->> '$.dns.type' AS type,
       detail ->> '$.dns.responseCode' AS response_code, detail -> '$.dns.answers' AS answers,
       detail ->> '$.dns.server.address' AS server
FROM events WHERE kind = 'dns';

CREATE VIEW files AS
SELECT number, time, time_ns, kind, pid, exe, uid, pod, container,
       coalesce(detail ->> '$.fileOpen.path', detail ->> '$.fileChange.path') AS path,
       detail ->> '$.fileChange.newPath' AS new_path,
       coalesce(detail ->> '$.fileOpen.call', detail ->> '$.fileChange.call.name') AS call,
       coalesce(detail ->> '$.fileChange.call.result', 0) AS result,
       detail -> '$.fileOpen.access' AS access,
       coalesce(detail -> '$.fileOpen.reasons', detail -> '$.fileChange.reasons') AS reasons
FROM events WHERE kind IN ('file-open', 'file-change');

-- Class 'all': no agent ran from `time` to `until`. Class 'history' or 'alerts': they could not be stored.
CREATE VIEW losses AS
SELECT number, time, time_ns, numbers ->> '$[0]' AS count, detail ->> '$.loss.class' AS class,
       detail ->> '$.loss.reason' AS reason, pod, container, detail ->> '$.loss.cgroupId' AS cgroup_id,
       NULL AS until, NULL AS until_ns, NULL AS seconds
FROM events WHERE kind = 'loss'
UNION ALL
SELECT first,
       strftime('%Y-%m-%dT%H:%M:%S', since / 1000000000, 'unixepoch') || printf('.%03dZ', since / 1000000 % 1000), since,
       count, CASE WHEN until IS NULL THEN 'history' ELSE 'all' END, reason, NULL, NULL, NULL,
       strftime('%Y-%m-%dT%H:%M:%S', until / 1000000000, 'unixepoch') || printf('.%03dZ', until / 1000000 % 1000), until,
       max(0, until - since) / 1e9
FROM gap
UNION ALL
SELECT first, NULL, NULL, count, 'alerts', reason, NULL, NULL, NULL, NULL, NULL, NULL FROM alert_gap WHERE until IS NULL;

CREATE VIEW activity AS
SELECT k.name AS kind, d.count, strftime('%Y-%m-%dT%H:%M:%S', d.first / 1000000000, 'unixepoch') || printf('.%03dZ', d.first / 1000000 % 1000) AS first,
       strftime('%Y-%m-%dT%H:%M:%S', d.last / 1000000000, 'unixepoch') || printf('.%03dZ', d.last / 1000000 % 1000) AS last, d.detail
FROM detail d JOIN kind k ON k.id = d.kind;

CREATE VIEW alerts AS
SELECT a.number, strftime('%Y-%m-%dT%H:%M:%S', a.time / 1000000000, 'unixepoch') || printf('.%03dZ', a.time / 1000000 % 1000) AS time, a.time AS time_ns,
       strftime('%Y-%m-%dT%H:%M:%S', a.last / 1000000000, 'unixepoch') || printf('.%03dZ', a.last / 1000000 % 1000) AS last, a.count, a.rule,
       CASE a.severity WHEN 1 THEN 'informational' WHEN 2 THEN 'low' WHEN 3 THEN 'medium' WHEN 4 THEN 'high'
                       WHEN 5 THEN 'critical' END AS severity,
       CASE a.attempt WHEN 1 THEN 'attempt' ELSE 'success' END AS outcome,
       a.title, a.message, r.pid, g.exe, g.argv, p.title AS pod, p.workload, c.name AS container, c.image,
       a.facts, a.id, a.event, a.evidence
FROM alert a
JOIN place l ON l.id = a.place
JOIN lineage n ON n.id = a.lineage
JOIN execution x ON x.id = n.execution
JOIN process r ON r.id = x.process
JOIN program g ON g.id = x.program
JOIN container c ON c.id = l.container
JOIN pod p ON p.id = c.pod;
