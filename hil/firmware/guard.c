/* guard.c: the rules of guard.h. */
#include "guard.h"

static const float U_MIN[LINK_NU] = GUARD_U_MIN;
static const float U_MAX[LINK_NU] = GUARD_U_MAX;
static const float SAFE_ACTION[LINK_NU] = GUARD_SAFE_ACTION;

static void hold_safe(guard_state *guard)
{
    uint32_t i;
    for (i = 0U; i < LINK_NU; ++i) {
        guard->u[i] = SAFE_ACTION[i];
    }
}

void guard_start(guard_state *guard)
{
    guard->state = (uint8_t)GUARD_DISARMED;
    guard->used = 0U;
    guard->session = 0U;
    guard->sequence = 0U;
    guard->valid_us = 0U;
    guard->expiry_us = 0U;
    guard->refused = 0U;
    guard->obeyed = 0U;
    hold_safe(guard);
}

static void fall(guard_state *guard)
{
    guard->state = (uint8_t)GUARD_SAFE;
    hold_safe(guard);
}

const float *guard_applied(guard_state *guard, uint64_t now_us)
{
    if ((guard->state == (uint8_t)GUARD_ARMED) && (now_us >= guard->expiry_us)) {
        fall(guard);
    }
    return (guard->state == (uint8_t)GUARD_ARMED) ? guard->u : SAFE_ACTION;
}

static int32_t arm(guard_state *guard, const link_message *message, uint64_t now_us)
{
    const uint32_t law_id = link_get_u32(&message->body[0]);
    const uint32_t valid_us = link_get_u32(&message->body[4]);
    int32_t fresh = 0;
    if ((message->session != 0U) && ((guard->used == 0U) || (message->session != guard->session))) {
        fresh = 1;
    }
    if ((guard->state == (uint8_t)GUARD_ARMED) || (fresh == 0) || (law_id != GUARD_LAW_ID) || (valid_us == 0U) ||
        (valid_us > GUARD_MAX_VALID_US)) {
        return 0;
    }
    guard->state = (uint8_t)GUARD_ARMED;
    guard->used = 1U;
    guard->session = message->session;
    guard->sequence = message->sequence;
    guard->valid_us = valid_us;
    guard->expiry_us = now_us + valid_us;
    hold_safe(guard);
    return 1;
}

static int32_t is_ours(const guard_state *guard, const link_message *message)
{
    return ((guard->state == (uint8_t)GUARD_ARMED) && (message->session == guard->session) &&
            (message->sequence > guard->sequence))
        ? 1
        : 0;
}

static int32_t command(guard_state *guard, const link_message *message, uint64_t now_us, uint32_t newest)
{
    const uint8_t *const tail = &message->body[4U + (4U * LINK_NU)];
    const uint32_t echo = link_get_u32(&message->body[0]);
    const uint32_t valid_us = link_get_u32(&tail[0]);
    uint32_t i;
    if ((is_ours(guard, message) == 0) || (link_get_u32(&tail[4]) != GUARD_LAW_ID) || (valid_us == 0U) ||
        (valid_us > guard->valid_us) || (echo > newest) || ((newest - echo) > GUARD_MAX_AGE)) {
        return 0;
    }
    for (i = 0U; i < LINK_NU; ++i) {
        const float u = link_get_float(&message->body[4U + (4U * i)]);
        if (!((u >= U_MIN[i]) && (u <= U_MAX[i]))) {
            return 0;
        }
    }
    for (i = 0U; i < LINK_NU; ++i) {
        guard->u[i] = link_get_float(&message->body[4U + (4U * i)]);
    }
    guard->sequence = message->sequence;
    guard->expiry_us = now_us + valid_us;
    return 1;
}

static void acknowledge(const guard_state *guard, uint8_t kind, int32_t accepted, link_message *answer)
{
    answer->kind = (uint8_t)LINK_ACKNOWLEDGE;
    answer->body_size = 8U;
    answer->body[0] = kind;
    answer->body[1] = (uint8_t)accepted;
    answer->body[2] = guard->state;
    answer->body[3] = 0U;
    link_put_u32(&answer->body[4], GUARD_LAW_ID);
}

int32_t guard_receive(guard_state *guard, const link_message *message, uint64_t now_us, uint32_t newest,
    link_message *answer)
{
    int32_t accepted = 0;
    int32_t answers = 0;
    (void)guard_applied(guard, now_us); /* what has expired is expired, whatever arrives now */
    if (message->kind == (uint8_t)LINK_STOP) {
        fall(guard);
        accepted = 1;
        answers = 1;
    } else if (message->kind == (uint8_t)LINK_ARM) {
        accepted = arm(guard, message, now_us);
        answers = 1;
    } else if (message->kind == (uint8_t)LINK_COMMAND) {
        accepted = command(guard, message, now_us, newest);
    } else {
        /* nothing else is obeyed */
    }
    if (accepted == 1) {
        ++guard->obeyed;
    } else {
        ++guard->refused;
    }
    if (answers == 1) {
        acknowledge(guard, message->kind, accepted, answer);
    }
    return answers;
}

int32_t guard_measured(guard_state *guard, const link_message *message, uint64_t now_us)
{
    int32_t ours;
    (void)guard_applied(guard, now_us);
    ours = is_ours(guard, message);
    if (ours == 1) {
        guard->sequence = message->sequence;
        guard->expiry_us = now_us + guard->valid_us;
        ++guard->obeyed;
    } else {
        ++guard->refused;
    }
    return ours;
}

void guard_hold(guard_state *guard, const float u[LINK_NU])
{
    uint32_t i;
    for (i = 0U; i < LINK_NU; ++i) {
        float value = u[i];
        if (!(value >= U_MIN[i])) { /* NaN ends at the limit */
            value = U_MIN[i];
        }
        if (!(value <= U_MAX[i])) {
            value = U_MAX[i];
        }
        guard->u[i] = value;
    }
}
