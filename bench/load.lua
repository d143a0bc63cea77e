-- The client's script: sends requests that were written to a file beforehand, counts the answers, stops exactly.
--
--   wrk … -s load.lua URL -- FILES WINDOW_S wrap|once RATE_PER_S alone|together
--
-- FILES-<thread>.http is that thread's slice: records of six digits (a length) and so many bytes, a whole HTTP request.
-- WINDOW_S    sending ends after so many seconds, or with the slice ("wrap": the slice is begun again)
-- RATE_PER_S  requests a second and thread, 0: as fast as answers come
-- alone       this is the only thread: when its last answer is there, wrk ends (by the signal of a Ctrl-C), whatever its
--             duration, which counts whole seconds; together: wrk ends when its duration does
--
-- wrk hangs up on requests in flight when its time is over: a server may have kept what the client never counted. So
-- sending ends before wrk does. A connection that asks for more afterwards gets one byte, the beginning of a request
-- that never comes: nothing is answered to it and nothing counted, while the answers in flight come home.
--
-- Pacing (RATE_PER_S > 0) is by slots on one clock: request k may leave at start + k/rate. A free connection takes the
-- next slot and wrk's timer waits for it, to the millisecond; a late slot is used at once. So the rate holds while
-- connections are free, whatever the server's latency, and wrk measures a request from the moment it leaves.
local ffi = require("ffi")
ffi.cdef([[
typedef struct { long sec; long nsec; } bench_timespec;
int clock_gettime(int clock, bench_timespec *now);
int getpid(void);
int kill(int pid, int signal);
]])

local CLOCK_MONOTONIC, SIGINT = 1, 2
local BEGINNING_OF_A_REQUEST = "P"
local moment = ffi.new("bench_timespec")

local function now_s()
  ffi.C.clock_gettime(CLOCK_MONOTONIC, moment)
  return tonumber(moment.sec) + tonumber(moment.nsec) / 1e9
end

-- Globals, because wrk's main state reads them out of each thread's state in done().
sent, ok, not_ok, first_sent_s, last_answer_s = 0, 0, 0, 0, 0

local threads = {}
local slice, window_s, wraps, alone, to_be_verified, deadline_s, slot_s, slot_width_s
local over = false

function setup(thread)
  thread:set("thread_number", #threads)
  table.insert(threads, thread)
end

function init(args)
  slice = assert(io.open(args[1] .. "-" .. thread_number .. ".http", "rb"))
  slice:setvbuf("full", 1024 * 1024)
  window_s = tonumber(args[2])
  wraps = args[3] == "wrap"
  alone = args[5] == "alone"
  local rate_per_s = tonumber(args[4])
  if rate_per_s > 0 then
    slot_width_s = 1 / rate_per_s
    -- wrk slows down for a delay() that exists, so it exists only here.
    function delay()
      local now = now_s()
      if not slot_s then slot_s = now end
      slot_s = slot_s + slot_width_s
      return math.max(0, math.floor((slot_s - now) * 1000 + 0.5))
    end
  end
  -- wrk asks the first thread for one request before the start, to see that it can be parsed, and throws it away.
  to_be_verified = thread_number == 0
end

local function next_request()
  local length = slice:read(6)
  if not length and wraps then
    slice:seek("set", 0)
    length = slice:read(6)
  end
  return length and slice:read(tonumber(length))
end

local function end_if_all_answered()
  if alone and over and ok + not_ok == sent then
    alone = false -- once
    wrk.thread:stop()
    ffi.C.kill(ffi.C.getpid(), SIGINT)
  end
end

function request()
  if to_be_verified then
    to_be_verified = false
    local first = next_request()
    slice:seek("set", 0)
    return first
  end
  local now = now_s()
  if sent == 0 then
    first_sent_s, deadline_s = now, now + window_s
  end
  local next = now < deadline_s and next_request()
  if not next then
    over = true
    end_if_all_answered()
    return BEGINNING_OF_A_REQUEST
  end
  sent = sent + 1
  return next
end

function response(status)
  if status == 200 then ok = ok + 1 else not_ok = not_ok + 1 end
  last_answer_s = now_s()
  end_if_all_answered()
end

function done(summary, latency)
  local total = { sent = 0, ok = 0, not_ok = 0 }
  local first_s, last_s = math.huge, 0
  for _, thread in ipairs(threads) do
    for name, value in pairs(total) do total[name] = value + thread:get(name) end
    if thread:get("sent") > 0 then first_s = math.min(first_s, thread:get("first_sent_s")) end
    last_s = math.max(last_s, thread:get("last_answer_s"))
  end
  local errors = summary.errors
  io.write(string.format(
    '\n{"sent":%d,"ok":%d,"not_ok":%d,"socket_errors":%d,"first_sent_s":%.6f,"last_answer_s":%.6f,'
      .. '"p50_ms":%.3f,"p90_ms":%.3f,"p99_ms":%.3f,"p999_ms":%.3f,"max_ms":%.3f}\n',
    total.sent, total.ok, total.not_ok, errors.connect + errors.read + errors.write + errors.timeout,
    last_s > 0 and first_s or 0, last_s,
    latency:percentile(50) / 1000, latency:percentile(90) / 1000, latency:percentile(99) / 1000,
    latency:percentile(99.9) / 1000, latency.max / 1000))
end
