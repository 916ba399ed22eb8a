/* main.c: the controller on the board. A measurement of the plant comes in, the law's input goes out; commands of the
 * host are obeyed within their expiry; silence ends in the safe action. The same code runs on every board. */
#include "board.h"
#include "controller.h"
#include "guard.h"
#include "link.h"

typedef struct {
    guard_state guard;
    uint32_t sequence; /* of what the board sends */
    uint32_t measured; /* sequence of the newest measurement */
    float x[LINK_NX];
} device;

static void send(device *self, link_message *message, uint64_t now_us)
{
    uint8_t frame[LINK_MAX_FRAME + 1U];
    ++self->sequence;
    message->session = self->guard.session;
    message->sequence = self->sequence;
    message->time_us = now_us;
    board_write(frame, link_encode(message, frame));
}

/* Tell the host what is measured, what is applied and the state. */
static void report(device *self, uint64_t now_us)
{
    link_message message;
    const float *const u = guard_applied(&self->guard, now_us);
    uint32_t i;
    message.kind = (uint8_t)LINK_MEASUREMENT;
    message.body_size = LINK_MEASUREMENT_SIZE;
    for (i = 0U; i < LINK_NX; ++i) {
        link_put_float(&message.body[4U * i], self->x[i]);
    }
    for (i = 0U; i < LINK_NU; ++i) {
        link_put_float(&message.body[4U * (LINK_NX + i)], u[i]);
    }
    message.body[4U * (LINK_NX + LINK_NU)] = self->guard.state;
    message.body[(4U * (LINK_NX + LINK_NU)) + 1U] = 0U;
    send(self, &message, now_us);
}

/* Evaluate the law and answer with a command that names the measurement, the law and the status. */
static void control(device *self, const link_message *measurement, uint64_t now_us)
{
    link_message message;
    controller_real u[CONTROLLER_N_OUT];
    controller_status status;
    uint8_t *const tail = &message.body[4U + (4U * LINK_NU)];
    uint32_t i;
    for (i = 0U; i < LINK_NX; ++i) {
        self->x[i] = link_get_float(&measurement->body[4U * i]);
    }
    self->measured = measurement->sequence;
    status = controller_control(self->x, u);
    guard_hold(&self->guard, u);
    message.kind = (uint8_t)LINK_COMMAND;
    message.body_size = LINK_COMMAND_SIZE;
    link_put_u32(&message.body[0], measurement->sequence);
    for (i = 0U; i < LINK_NU; ++i) {
        link_put_float(&message.body[4U + (4U * i)], self->guard.u[i]);
    }
    link_put_u32(&tail[0], self->guard.valid_us);
    link_put_u32(&tail[4], CONTROLLER_LAW_ID);
    tail[8] = (uint8_t)status;
    send(self, &message, now_us);
}

static void handle(device *self, const link_message *message, uint64_t now_us)
{
    link_message answer;
    if (message->kind == (uint8_t)LINK_MEASUREMENT) {
        if (guard_measured(&self->guard, message, now_us) == 1) {
            control(self, message, now_us);
        }
    } else if (message->kind == (uint8_t)LINK_HEARTBEAT) {
        report(self, now_us);
    } else if (guard_receive(&self->guard, message, now_us, self->measured, &answer) == 1) {
        send(self, &answer, now_us);
    } else {
        /* obeyed or refused without an answer */
    }
}

int main(void)
{
    static device self;
    static link_decoder decoder;
    static link_message message;
    guard_start(&self.guard);
    link_start(&decoder);
    board_start();
    for (;;) {
        const int32_t byte = board_read();
        const uint64_t now_us = board_time_us();
        const uint8_t before = self.guard.state;
        if ((byte >= 0) && (link_feed(&decoder, (uint8_t)byte, &message) == 1)) {
            handle(&self, &message, now_us);
        }
        board_apply(guard_applied(&self.guard, now_us));
        if ((before == (uint8_t)GUARD_ARMED) && (self.guard.state == (uint8_t)GUARD_SAFE)) {
            report(&self, now_us); /* the watchdog has bitten, or the host said stop */
        }
        if (byte < 0) {
            board_wait();
        }
    }
}
