-- A store of schema version 2, as its coordinator left it.
PRAGMA application_id = 1414678868;
PRAGMA user_version = 2;
BEGIN TRANSACTION;
CREATE TABLE artifacts (
  run_id TEXT NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (run_id, kind)) WITHOUT ROWID;
INSERT INTO "artifacts" VALUES('r-a','tpack',X'0A05747061636B121A2F646174612F72756E732F722D612F6D6F64656C2E747061636B2805');
CREATE TABLE checkpoints (
  run_id TEXT NOT NULL, step INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (run_id, step)) WITHOUT ROWID;
INSERT INTO "checkpoints" VALUES('r-a',5,X'080512212F646174612F72756E732F722D612F636865636B706F696E74732F737465702D35');
CREATE TABLE epochs (
  run_id TEXT NOT NULL, epoch INTEGER NOT NULL, live INTEGER NOT NULL, start_step INTEGER NOT NULL,
  manifest_sha256 TEXT NOT NULL, rendezvous TEXT NOT NULL, end_reason TEXT NOT NULL, started_ms INTEGER NOT NULL,
  ended_ms INTEGER NOT NULL, PRIMARY KEY (run_id, epoch)) WITHOUT ROWID;
INSERT INTO "epochs" VALUES('r-a',2,1,4,'def','127.0.0.1:4000','',5,0);
CREATE TABLE evaluations (
  run_id TEXT NOT NULL, step INTEGER NOT NULL, epoch INTEGER NOT NULL, source TEXT NOT NULL, weights TEXT NOT NULL,
  superseded INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (run_id, step, epoch, source, weights)) WITHOUT ROWID;
INSERT INTO "evaluations" VALUES('r-a',5,2,'shakespeare','',0,X'0805120B7368616B65737065617265210000000000000240');
CREATE TABLE events (id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, body BLOB NOT NULL);
INSERT INTO "events" VALUES(1,'r-a',X'080110E8071A03722D61220C65706F63685F666F726D65642A093220776F726B657273');
CREATE TABLE idempotency_keys (key TEXT PRIMARY KEY, request_hash TEXT NOT NULL, run_id TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "idempotency_keys" VALUES('key-1','hash','r-a');
CREATE TABLE log_lines (sequence INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, body BLOB NOT NULL);
INSERT INTO "log_lines" VALUES(41,'r-a',X'1A086C6F737320322E35');
CREATE TABLE members (
  run_id TEXT NOT NULL, epoch INTEGER NOT NULL, rank INTEGER NOT NULL, worker TEXT NOT NULL, incarnation INTEGER NOT NULL,
  device TEXT NOT NULL, memory_bytes INTEGER NOT NULL, PRIMARY KEY (run_id, epoch, rank)) WITHOUT ROWID;
INSERT INTO "members" VALUES('r-a',2,0,'w-0',-81985529216486896,'cpu',1073741824);
INSERT INTO "members" VALUES('r-a',2,1,'w-1',3,'cpu',1073741824);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('store_id','store-fixture');
CREATE TABLE metrics (
  run_id TEXT NOT NULL, step INTEGER NOT NULL, epoch INTEGER NOT NULL, superseded INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (run_id, step, epoch)) WITHOUT ROWID;
INSERT INTO "metrics" VALUES('r-a',5,1,1,X'08051100000000000006407001');
INSERT INTO "metrics" VALUES('r-a',5,2,0,X'08051100000000000004407002');
CREATE TABLE plans (
  run_id TEXT NOT NULL, epoch INTEGER NOT NULL, first_step INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (run_id, epoch, first_step)) WITHOUT ROWID;
INSERT INTO "plans" VALUES('r-a',2,0,X'100A');
CREATE TABLE requests (
  run_id TEXT NOT NULL, epoch INTEGER NOT NULL, request_id TEXT NOT NULL,
  PRIMARY KEY (run_id, epoch, request_id)) WITHOUT ROWID;
INSERT INTO "requests" VALUES('r-a',2,'request-1');
CREATE TABLE runs (
  run_id TEXT PRIMARY KEY, name TEXT NOT NULL, state INTEGER NOT NULL, reason TEXT NOT NULL, intent INTEGER NOT NULL,
  spec_yaml TEXT NOT NULL, spec_hash TEXT NOT NULL, run_dir TEXT NOT NULL, total_steps INTEGER NOT NULL,
  priority INTEGER NOT NULL, step INTEGER NOT NULL, best_step INTEGER NOT NULL, epoch INTEGER NOT NULL,
  epochs_lost INTEGER NOT NULL, failures INTEGER NOT NULL, created_ms INTEGER NOT NULL, started_ms INTEGER NOT NULL,
  finished_ms INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO "runs" VALUES('r-a','shakespeare',3,'training at step 7',1,'name: shakespeare
','abc','/data/runs/r-a',1200,-3,7,9,2,1,4,1000,1001,0);
CREATE TABLE shares (
  run_id TEXT NOT NULL, epoch INTEGER NOT NULL, step INTEGER NOT NULL, rank INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (run_id, epoch, step, rank)) WITHOUT ROWID;
INSERT INTO "shares" VALUES('r-a',2,5,1,X'1203722D61180220053001');
CREATE INDEX events_by_run ON events (run_id, id);
CREATE INDEX log_lines_by_run ON log_lines (run_id, sequence);
COMMIT;
