CREATE TABLE public.attempts (
    call_id character(32) NOT NULL,
    number smallint NOT NULL,
    begun_at bigint NOT NULL,
    vendor text NOT NULL,
    model text NOT NULL,
    status text NOT NULL,
    error_class text,
    http_status smallint,
    retry boolean NOT NULL,
    failover boolean NOT NULL,
    hedge boolean NOT NULL,
    continuation boolean NOT NULL,
    sent boolean,
    possibly_billed boolean NOT NULL,
    cost bigint,
    latency_us bigint,
    first_token_us bigint,
    bytes_sent bigint,
    bytes_received bigint,
    writer character(32)
);
CREATE TABLE public.budgets (
    name text NOT NULL,
    share text NOT NULL,
    begins bigint NOT NULL,
    ends bigint NOT NULL,
    spent bigint NOT NULL,
    reserved bigint NOT NULL
);
CREATE TABLE public.calls (
    id character(32) NOT NULL,
    begun_at bigint NOT NULL,
    ended_at bigint,
    origin text,
    id_at_origin text,
    "user" text,
    alias text,
    profile text,
    vendor text,
    model text NOT NULL,
    status text NOT NULL,
    error_class text,
    input_tokens bigint,
    output_tokens bigint,
    cache_read_tokens bigint,
    cache_write_tokens bigint,
    cache_write_long_tokens bigint,
    reasoning_tokens bigint,
    audio_input_tokens bigint,
    audio_output_tokens bigint,
    cost bigint,
    cost_status text,
    price_version text,
    latency_us bigint,
    first_token_us bigint,
    streamed boolean NOT NULL,
    cached boolean NOT NULL,
    hedged boolean NOT NULL,
    attempts integer NOT NULL,
    metadata json,
    writer character(32)
);
CREATE TABLE public.daily (
    day integer NOT NULL,
    origin text NOT NULL,
    "user" text NOT NULL,
    alias text NOT NULL,
    vendor text NOT NULL,
    model text NOT NULL,
    calls bigint NOT NULL,
    success bigint NOT NULL,
    error bigint NOT NULL,
    timeout bigint NOT NULL,
    rate_limited bigint NOT NULL,
    cancelled bigint NOT NULL,
    unknown bigint NOT NULL,
    cached bigint NOT NULL,
    streamed bigint NOT NULL,
    hedged bigint NOT NULL,
    attempts bigint NOT NULL,
    unpriced bigint NOT NULL,
    first_tokens bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cache_read_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    cache_write_long_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    audio_input_tokens bigint NOT NULL,
    audio_output_tokens bigint NOT NULL,
    cost bigint NOT NULL,
    latency_us bigint NOT NULL,
    first_token_us bigint NOT NULL
);
CREATE TABLE public.llmdispatcher_schema (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.marks (
    name text NOT NULL,
    value bigint NOT NULL
);
CREATE TABLE public.receipt_calls (
    call_id character(32) NOT NULL,
    sequence bigint NOT NULL,
    digest character(71) NOT NULL
);
CREATE TABLE public.receipts (
    sequence bigint NOT NULL,
    receipt_id text NOT NULL,
    receipt_type text NOT NULL,
    key_id text NOT NULL,
    created_at bigint NOT NULL,
    document text NOT NULL
);
CREATE TABLE public.reservations (
    id character(32) NOT NULL,
    name text NOT NULL,
    share text NOT NULL,
    begins bigint NOT NULL,
    amount bigint NOT NULL,
    expires_at bigint NOT NULL,
    expired boolean NOT NULL
);
CREATE TABLE public.writers (
    id character(32) NOT NULL,
    place text NOT NULL,
    pid bigint NOT NULL,
    started bigint NOT NULL,
    begun_at bigint NOT NULL,
    seen_at bigint NOT NULL
);
INSERT INTO public.attempts VALUES ('0006474846204000fba3ecd2d2235c72', 1, 1767225600000000, 'openai', 'gpt-4o', 'error', 'VendorUnavailable', 503, false, false, false, false, true, false, NULL, 0, NULL, 349, 260, '0006616f68e8a66a97a4eb23a36e1852');
INSERT INTO public.attempts VALUES ('0006474846204000fba3ecd2d2235c72', 2, 1767225600000000, 'openai', 'gpt-4o', 'success', NULL, NULL, true, false, false, false, true, false, 70000000, 0, NULL, 349, 587, '0006616f68e8a66a97a4eb23a36e1852');
INSERT INTO public.attempts VALUES ('0006474846204000cc6e603ed5ca2841', 1, 1767225600000000, 'openai', 'gpt-4o', 'success', NULL, NULL, false, false, false, false, true, false, 70000000, 0, 0, 410, 1374, '0006616f68e8a66a97a4eb23a36e1852');
INSERT INTO public.attempts VALUES ('0006474846204000d4f6245b6c939f07', 1, 1767225600000000, 'openai', 'gpt-4o-mini', 'error', 'InvalidRequest', 400, false, false, false, false, true, false, NULL, 0, NULL, 354, 249, '0006616f68e8a66a97a4eb23a36e1852');
INSERT INTO public.attempts VALUES ('0006474846204000ab9b1fd177e7c624', 1, 1767225600000000, 'openai', 'gpt-4o', 'open', NULL, NULL, false, false, false, false, NULL, false, NULL, NULL, NULL, NULL, NULL, '0006616f6938c421ed6390ca2759dfa1');
INSERT INTO public.budgets VALUES ('each', 'grace', 1767225600000000, 1767312000000000, 70000000, 0);
INSERT INTO public.budgets VALUES ('each', 'ann', 1767225600000000, 1767312000000000, 70000000, 0);
INSERT INTO public.budgets VALUES ('all', '', 0, 0, 140000000, 3638000000);
INSERT INTO public.budgets VALUES ('each', 'bob', 1767225600000000, 1767312000000000, 0, 3638000000);
INSERT INTO public.budgets VALUES ('vendors', 'openai', 1767222000000000, 1769900400000000, 140000000, 3638000000);
INSERT INTO public.calls VALUES ('00000000000000000000000000000002', 1767323045678901, 1767323047178901, 'bücher', 'order 0', 'ann', 'summarizer', 'prod', 'anthropic', 'claude-haiku-4-5', 'success', NULL, 1200, 300, 100, 50, 20, 40, 3, 4, 1, 'vendor_reported', NULL, 1500000, 250000, true, false, false, 2, '{"feature": "chat", "deep": [1, {"\u00fcn\u00ef": null}]}', NULL);
INSERT INTO public.calls VALUES ('00000000000000000000000000000003', 1767409445678901, 1767409447178901, 'bücher', 'order 1', 'ann', 'summarizer', 'prod', 'anthropic', 'claude-haiku-4-5', 'error', 'VendorUnavailable', 1200, 300, 100, 50, 20, 40, 3, 4, 2, 'vendor_reported', NULL, 1500000, 250000, true, false, true, 2, '{"feature": "chat", "deep": [1, {"\u00fcn\u00ef": null}]}', NULL);
INSERT INTO public.calls VALUES ('00000000000000000000000000000004', 1767495845678901, 1767495847178901, 'bücher', 'order 2', 'ann', 'summarizer', 'prod', 'anthropic', 'claude-haiku-4-5', 'timeout', 'VendorUnavailable', 1200, 300, 100, 50, 20, 40, 3, 4, 2637500000, 'priced', 'catalog 2026-11-21', 1500000, 250000, true, false, false, 2, '{"feature": "chat", "deep": [1, {"\u00fcn\u00ef": null}]}', NULL);
INSERT INTO public.calls VALUES ('00000000000000000000000000000005', 1767582245678901, 1767582247178901, 'bücher', 'order 3', 'ann', 'summarizer', 'prod', 'anthropic', 'claude-haiku-4-5', 'rate_limited', 'VendorUnavailable', 1200, 300, 100, 50, 20, 40, 3, 4, 4, 'vendor_reported', NULL, 1500000, 250000, true, false, false, 2, '{"feature": "chat", "deep": [1, {"\u00fcn\u00ef": null}]}', NULL);
INSERT INTO public.calls VALUES ('00000000000000000000000000000006', 1767668645678901, 1767668647178901, 'bücher', 'order 4', 'ann', 'summarizer', 'prod', 'anthropic', 'claude-haiku-4-5', 'cancelled', 'VendorUnavailable', 1200, 300, 100, 50, 20, 40, 3, 4, 5, 'vendor_reported', NULL, 1500000, 250000, true, false, false, 2, '{"feature": "chat", "deep": [1, {"\u00fcn\u00ef": null}]}', NULL);
INSERT INTO public.calls VALUES ('00000000000000000000000000000007', 1770779045678901, NULL, NULL, NULL, NULL, NULL, NULL, 'ollama', 'llama3', 'success', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'no_usage', NULL, NULL, NULL, true, true, false, 0, NULL, NULL);
INSERT INTO public.calls VALUES ('0006474846204000cc6e603ed5ca2841', 1767225600000000, 1767225600000000, 'shop', 'order 7', 'grace', NULL, NULL, 'openai', 'gpt-4o', 'success', NULL, 8, 5, 0, 0, 0, 0, 0, 0, 70000000, 'priced', 'catalog 2026-11-21', 0, 0, true, false, false, 1, '{"team":1}', '0006616f68e8a66a97a4eb23a36e1852');
INSERT INTO public.calls VALUES ('0006474846204000d4f6245b6c939f07', 1767225600000000, 1767225600000000, 'shop', 'order 7', 'ann', NULL, NULL, 'openai', 'gpt-4o-mini', 'error', 'InvalidRequest', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, false, false, false, 1, '{"team":1}', '0006616f68e8a66a97a4eb23a36e1852');
INSERT INTO public.calls VALUES ('0006474846204000fba3ecd2d2235c72', 1767225600000000, 1767225600000000, 'shop', 'order 7', 'ann', NULL, NULL, 'openai', 'gpt-4o', 'success', NULL, 8, 5, 0, 0, 0, 0, 0, 0, 70000000, 'priced', 'catalog 2026-11-21', 0, NULL, false, false, false, 2, '{"team":1}', '0006616f68e8a66a97a4eb23a36e1852');
INSERT INTO public.calls VALUES ('0006474846204000ab9b1fd177e7c624', 1767225600000000, NULL, 'lab', NULL, 'bob', NULL, NULL, 'openai', 'gpt-4o', 'open', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, false, false, false, 1, NULL, '0006616f6938c421ed6390ca2759dfa1');
INSERT INTO public.daily VALUES (20240, '', '', '', 'openai', 'gpt-4o', 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 12500000, 0, 0);
INSERT INTO public.daily VALUES (20455, 'bücher', 'ann', 'summarizer', 'anthropic', 'claude-haiku-4-5', 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 1, 1200, 300, 100, 50, 20, 40, 3, 4, 1, 1500000, 250000);
INSERT INTO public.daily VALUES (20456, 'bücher', 'ann', 'summarizer', 'anthropic', 'claude-haiku-4-5', 1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 2, 0, 1, 1200, 300, 100, 50, 20, 40, 3, 4, 2, 1500000, 250000);
INSERT INTO public.daily VALUES (20457, 'bücher', 'ann', 'summarizer', 'anthropic', 'claude-haiku-4-5', 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 2, 0, 1, 1200, 300, 100, 50, 20, 40, 3, 4, 2637500000, 1500000, 250000);
INSERT INTO public.daily VALUES (20458, 'bücher', 'ann', 'summarizer', 'anthropic', 'claude-haiku-4-5', 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 2, 0, 1, 1200, 300, 100, 50, 20, 40, 3, 4, 4, 1500000, 250000);
INSERT INTO public.daily VALUES (20459, 'bücher', 'ann', 'summarizer', 'anthropic', 'claude-haiku-4-5', 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 2, 0, 1, 1200, 300, 100, 50, 20, 40, 3, 4, 5, 1500000, 250000);
INSERT INTO public.daily VALUES (20495, '', '', '', 'ollama', 'llama3', 1, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
INSERT INTO public.daily VALUES (20454, 'shop', 'ann', '', 'openai', 'gpt-4o', 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 8, 5, 0, 0, 0, 0, 0, 0, 70000000, 0, 0);
INSERT INTO public.daily VALUES (20454, 'shop', 'ann', '', 'openai', 'gpt-4o-mini', 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
INSERT INTO public.daily VALUES (20454, 'shop', 'grace', '', 'openai', 'gpt-4o', 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 8, 5, 0, 0, 0, 0, 0, 0, 70000000, 0, 0);
INSERT INTO public.llmdispatcher_schema VALUES ('0004');
INSERT INTO public.marks VALUES ('pruned', 1764547200000000);
INSERT INTO public.receipt_calls VALUES ('00000000000000000000000000000002', 1, 'sha256:16d6e3025dd198872a21e1a73994a87b94e4d436e301682a1160f610f006843e');
INSERT INTO public.receipt_calls VALUES ('00000000000000000000000000000003', 1, 'sha256:98be8752428d6f0c7ac20f548f3a67da32182d32021971fcfa73d4e8039f89d3');
INSERT INTO public.receipt_calls VALUES ('00000000000000000000000000000004', 1, 'sha256:b0fa8af07f965aedb2d0459eddd231795438faa5c23a5953c6c136b130ba8a38');
INSERT INTO public.receipt_calls VALUES ('00000000000000000000000000000005', 1, 'sha256:8738eafc79fd457772d17b6be3d19093ab3ca73ab77eaf8f02c6d389f5937aa9');
INSERT INTO public.receipt_calls VALUES ('00000000000000000000000000000006', 1, 'sha256:35786f98abf9ae6ae887de52b73355333216f53949a4dc7a94c50154c06e2fd9');
INSERT INTO public.receipt_calls VALUES ('00000000000000000000000000000007', 1, 'sha256:d3e259876dbd7ee4ae978ee945eb93d1bbdacf11a5dd6b0ac5cfe6a3dc627889');
INSERT INTO public.receipt_calls VALUES ('0006474846204000cc6e603ed5ca2841', 1, 'sha256:9b7e0ae7751c58c0a6ba37d47016a16f0aa8ec9d86919b9cf7591b7a80121cec');
INSERT INTO public.receipt_calls VALUES ('0006474846204000d4f6245b6c939f07', 1, 'sha256:4d990115460af5f419d44583fe0202f1ce3e5bbb4c512efc1595613adffcd0d0');
INSERT INTO public.receipt_calls VALUES ('0006474846204000fba3ecd2d2235c72', 1, 'sha256:5a384226de4948b8311d592e1f71f279dc0b891127acd2024f069fd63817de9a');
INSERT INTO public.receipts VALUES (1, 'rcpt_5a118aab019af5e91c3b3b0645edab6f', 'batch', 'key_9e5fcdcc1c4f97df', 1767225600000000, '{"calls_digest":"sha256:3ab33d54fc1d1d1816d3f7f6798eb462b94b8ec1cb863a6804fdbdf980c7cea5","description":"","key_id":"key_9e5fcdcc1c4f97df","ledger":"ledger_df16ff88da9789ea2b4a5f4e6ec62192","previous":null,"receipt_id":"rcpt_5a118aab019af5e91c3b3b0645edab6f","receipt_type":"batch","selection":{"by":"uncertified","certified_before":0,"id_at_origin":null,"origin":null,"since":null,"until":null},"sequence":1,"signature":"ed25519:7SRVVlFGA_grLRDPQKCks8Gk64Ci_237gP0xOJTfvYLcR38Nd0yltCY1rpj8Xo0Wn9JuUZ1Yeb8KXxMi39v6Cg","summary":{"by_alias":{"summarizer":{"calls":5,"cost":"0.002637500012","tokens":7500}},"by_model":{"anthropic:claude-haiku-4-5":{"calls":5,"cost":"0.002637500012","tokens":7500},"ollama:llama3":{"calls":1,"cost":"0","tokens":0},"openai:gpt-4o":{"calls":2,"cost":"0.00014","tokens":26},"openai:gpt-4o-mini":{"calls":1,"cost":"0","tokens":0}},"end":"2026-02-11T03:04:05.678901Z","input_tokens":6016,"output_tokens":1510,"start":"2026-01-01T00:00:00.000000Z","total_calls":9,"total_cost":"0.002777500012","total_tokens":7526,"unpriced_calls":2},"tags":[],"timestamp":"2026-01-01T00:00:00.000000Z","version":1}');
INSERT INTO public.reservations VALUES ('a4b0819d8da18fb50000000000000001', 'all', '', 0, 3638000000, 1767226230000000, false);
INSERT INTO public.reservations VALUES ('a4b0819d8da18fb50000000000000001', 'each', 'bob', 1767225600000000, 3638000000, 1767226230000000, false);
INSERT INTO public.reservations VALUES ('a4b0819d8da18fb50000000000000001', 'vendors', 'openai', 1767222000000000, 3638000000, 1767226230000000, false);
INSERT INTO public.writers VALUES ('0006616f6938c421ed6390ca2759dfa1', 'elsewhere', 12010, 173388, 1600000000000000, 1600000000000000);
ALTER TABLE ONLY public.llmdispatcher_schema
    ADD CONSTRAINT llmdispatcher_schema_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT pk_attempts PRIMARY KEY (call_id, number);
ALTER TABLE ONLY public.budgets
    ADD CONSTRAINT pk_budgets PRIMARY KEY (name, share, begins);
ALTER TABLE ONLY public.calls
    ADD CONSTRAINT pk_calls PRIMARY KEY (id);
ALTER TABLE ONLY public.daily
    ADD CONSTRAINT pk_daily PRIMARY KEY (day, origin, "user", alias, vendor, model);
ALTER TABLE ONLY public.marks
    ADD CONSTRAINT pk_marks PRIMARY KEY (name);
ALTER TABLE ONLY public.receipt_calls
    ADD CONSTRAINT pk_receipt_calls PRIMARY KEY (call_id);
ALTER TABLE ONLY public.receipts
    ADD CONSTRAINT pk_receipts PRIMARY KEY (sequence);
ALTER TABLE ONLY public.reservations
    ADD CONSTRAINT pk_reservations PRIMARY KEY (id, name, share, begins);
ALTER TABLE ONLY public.writers
    ADD CONSTRAINT pk_writers PRIMARY KEY (id);
ALTER TABLE ONLY public.receipts
    ADD CONSTRAINT uq_receipts_receipt_id UNIQUE (receipt_id);
CREATE INDEX ix_attempts_open ON public.attempts USING btree (writer) WHERE (status = 'open'::text);
CREATE INDEX ix_calls_begun_at ON public.calls USING btree (begun_at);
CREATE INDEX ix_calls_id_at_origin ON public.calls USING btree (id_at_origin, begun_at) WHERE (id_at_origin IS NOT NULL);
CREATE INDEX ix_calls_open ON public.calls USING btree (writer) WHERE (status = 'open'::text);
CREATE INDEX ix_receipt_calls_sequence ON public.receipt_calls USING btree (sequence);
CREATE INDEX ix_receipts_receipt_type ON public.receipts USING btree (receipt_type);
CREATE INDEX ix_reservations_expires_at ON public.reservations USING btree (expires_at);
