//! Serving: the plan becomes listeners, shards and service threads, until a stop.
