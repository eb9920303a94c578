/* The load generator: it opens members, runs the requested scenarios and checks everything that it receives.
 *
 * Usage: load PROTOCOL PORT[,PORT...] SERVER_PID PAYLOAD_SIZE      PROTOCOL: rankmux, redis, nats or mqtt
 *
 * It reads one command per line, runs it and answers with one line of JSON, so the driver can read the server's
 * clocks immediately before and after the measured work.
 *
 *   open MEMBERS [RECEIVE_BUFFER]    bring the number of members to MEMBERS
 *   fanout BURST SECONDS             rank 0 to all
 *   directed BURST SECONDS           rank 0 to one rank each                         rankmux only, as are the rest
 *   results BURST SECONDS            rank 0 to all, and every executor answers
 *   everyone SECONDS                 each member to all below it, in one turn
 *   promote DEPARTURES               rank 0 leaves, DEPARTURES times
 *   watch                            the members that are opened from now on watch
 *   changes CHANGES SECONDS          the members above the last step back, CHANGES / 2 of them in one turn
 *   part DEPARTURES                  the DEPARTURES lowest-ranked members leave
 *   nonreaders BYTES PAYLOAD_SIZE    rank 0 to all, and no receiver reads
 *   idle SECONDS                     any protocol
 *   paced RATE SECONDS BURST         RATE bursts a second to all, from the first member of each server in turn
 *   stream WINDOW BURST SECONDS      the same members, to the last rank: as many as are accepted, in bursts
 *
 * Members are connected to the servers of all ports in turn; SERVER_PID is for the scenarios that stop a server.
 * Everything that arrives is checked.  The first violation ends the program.
 *
 * Its parts, each of which uses only those below it; protocols reach the crowd through `struct protocol`:
 *
 *   load.c                          commands from stdin
 *   load_scenarios.c, load_rates.c  what is sent when, and the expected outcome
 *   load_rankmux.c, load_pubsub.c   the protocols: messages are cut, checked and counted here
 *   load_crowd.c                    the members' sockets: open, read, send
 *   load_report.c                   measurements and failures, on stdout
 */
#include "load_crowd.h"
#include "load_pubsub.h"
#include "load_rankmux.h"
#include "load_rates.h"
#include "load_report.h"
#include "load_scenarios.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void carry_out(struct report *report, const char *command, const double *numbers, int server)
{
    uint32_t burst = (uint32_t)numbers[0];
    if (!strcmp(command, "open")) {
        uint64_t joined = crowd.joined;
        crowd_open((uint32_t)numbers[0], (int)numbers[1]);
        report->unit = "join";
        report->units = crowd.joined - joined;
    } else if (!strcmp(command, "idle")) {
        idle(report, numbers[0]);
    } else if (!strcmp(command, "fanout") && burst) {
        fan_out(report, burst, numbers[1]);
    } else if (crowd.protocol != &rankmux_protocol) {
        fail("%s is not for %s", command, crowd.protocol->name);
    } else if (!strcmp(command, "directed") && burst) {
        directed(report, burst, numbers[1]);
    } else if (!strcmp(command, "results") && burst) {
        results(report, burst, numbers[1]);
    } else if (!strcmp(command, "everyone")) {
        everyone(report, numbers[0], server);
    } else if (!strcmp(command, "promote")) {
        promote(report, (uint32_t)numbers[0]);
    } else if (!strcmp(command, "watch")) {
        crowd.watching = true;
        report->unit = "member";
    } else if (!strcmp(command, "changes") && burst >= 2) {
        step_back(report, burst, numbers[1], server);
    } else if (!strcmp(command, "part")) {
        part(report, (uint32_t)numbers[0]);
    } else if (!strcmp(command, "paced") && numbers[0] > 0 && numbers[2] >= 1) {
        paced(report, numbers[0], numbers[1], (uint32_t)numbers[2]);
    } else if (!strcmp(command, "stream") && burst && numbers[1] >= 1) {
        stream(report, burst, (uint32_t)numbers[1], numbers[2]);
    } else if (!strcmp(command, "nonreaders") && numbers[1] >= 8) {
        nonreaders(report, (uint64_t)numbers[0], (size_t)numbers[1]);
    } else {
        fail("unknown command, or numbers missing: %s", command);
    }
}

int main(int count, char **arguments)
{
    const struct protocol *protocols[] = {&rankmux_protocol, &redis_protocol, &nats_protocol, &mqtt_protocol};
    for (size_t i = 0; count == 5 && i < sizeof protocols / sizeof *protocols; i++)
        if (!strcmp(arguments[1], protocols[i]->name))
            crowd.protocol = protocols[i];
    if (!crowd.protocol) {
        fprintf(stderr, "usage: %s rankmux|redis|nats|mqtt PORT[,PORT...] SERVER_PID PAYLOAD_SIZE\n", arguments[0]);
        return 2;
    }
    for (char *port = strtok(arguments[2], ","); port && crowd.port_count < SERVERS_MAX; port = strtok(NULL, ","))
        crowd.ports[crowd.port_count++] = (uint16_t)atoi(port);
    int server = atoi(arguments[3]);
    crowd.payload_size = (size_t)atoi(arguments[4]);

    char line[256], command[32];
    while (fgets(line, sizeof line, stdin)) {
        double numbers[3] = {0};
        struct report report = {0};
        if (sscanf(line, "%31s %lf %lf %lf", command, &numbers[0], &numbers[1], &numbers[2]) < 1)
            continue;
        double started = now_s();
        carry_out(&report, command, numbers, server);
        report.seconds = now_s() - started;
        report_print(command, &report, crowd.count);
        free(report.latencies_s);
    }
    return 0;
}
