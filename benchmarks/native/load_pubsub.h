/* The subset of Redis, NATS and MQTT 3.1.1 that a fan-out needs. */
#ifndef RANKMUX_BENCH_LOAD_PUBSUB_H
#define RANKMUX_BENCH_LOAD_PUBSUB_H

#include "load_crowd.h"

extern const struct protocol redis_protocol, nats_protocol, mqtt_protocol;

#endif
