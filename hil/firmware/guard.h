/* guard.h: which messages the board obeys, and when it gives up and holds the safe action.
 *
 * DISARMED -> ARMED -> SAFE. SAFE is latched until an ARM of a session not used before. Everything obeyed carries its
 * own expiry, so a lost line, a host that was killed, stopped or hangs, all end the same way. The same rules stand in
 * Python in hil/device.py.
 */
#ifndef GUARD_H
#define GUARD_H

#include "link.h"
#include "settings.h"

#include <stdint.h>

enum { GUARD_DISARMED = 0, GUARD_ARMED = 1, GUARD_SAFE = 2 };

typedef struct {
    uint8_t state;
    uint8_t used; /* a session has been armed before */
    uint32_t session;
    uint32_t sequence;
    uint32_t valid_us;
    uint64_t expiry_us;
    float u[LINK_NU];
    uint32_t refused; /* messages that were not obeyed */
    uint32_t obeyed;
} guard_state;

void guard_start(guard_state *guard);

/* Obey or refuse ARM, STOP and COMMAND; 1 when `answer` is to be sent. `newest` is the board's newest measurement. */
int32_t guard_receive(guard_state *guard, const link_message *message, uint64_t now_us, uint32_t newest,
    link_message *answer);

/* A measurement of a simulated plant, for the law on the board: 1 when the law is to answer it. */
int32_t guard_measured(guard_state *guard, const link_message *message, uint64_t now_us);

/* Hold an input that the board computed itself, until the measurement it answers expires. */
void guard_hold(guard_state *guard, const float u[LINK_NU]);

/* The input to apply now; what has expired is the end of the session. */
const float *guard_applied(guard_state *guard, uint64_t now_us);

#endif
