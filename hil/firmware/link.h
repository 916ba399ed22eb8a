/* link.h: messages between host and board, COBS(message + CRC-32) and a zero byte on the line.
 *
 * Header, 20 bytes, little-endian: magic u8, version u8, kind u8, flags u8, session u32, sequence u32, time_us u64.
 * No heap, no recursion; every loop is bounded by a size in this header. The host's side is hil/messages.py.
 */
#ifndef LINK_H
#define LINK_H

#include "settings.h" /* LINK_NX, LINK_NU */

#include <stdint.h>

#define LINK_HEADER 20U
#define LINK_CHECK 4U /* CRC-32, little-endian */
#define LINK_MEASUREMENT_SIZE ((4U * LINK_NX) + (4U * LINK_NU) + 2U)
#define LINK_COMMAND_SIZE ((4U * LINK_NU) + 13U)
#define LINK_LARGER ((LINK_MEASUREMENT_SIZE > LINK_COMMAND_SIZE) ? LINK_MEASUREMENT_SIZE : LINK_COMMAND_SIZE)
#define LINK_MAX_BODY ((LINK_LARGER > 16U) ? LINK_LARGER : 16U)
#define LINK_MAX_MESSAGE (LINK_HEADER + LINK_MAX_BODY)
#define LINK_MAX_FRAME (LINK_MAX_MESSAGE + LINK_CHECK + ((LINK_MAX_MESSAGE + LINK_CHECK) / 254U) + 1U) /* without the zero */

enum {
    LINK_MEASUREMENT = 1,
    LINK_COMMAND = 2,
    LINK_HEARTBEAT = 3,
    LINK_STOP = 4,
    LINK_ARM = 5,
    LINK_ACKNOWLEDGE = 6,
    LINK_HELLO = 8,
    LINK_WELCOME = 9
};

typedef struct {
    uint8_t kind;
    uint32_t session;
    uint32_t sequence;
    uint64_t time_us;
    uint32_t body_size;
    uint8_t body[LINK_MAX_BODY];
} link_message;

typedef struct {
    uint8_t buffer[LINK_MAX_FRAME];
    uint32_t size;
    uint8_t overflowed;
    uint32_t frames;      /* whole frames with a right check */
    uint32_t bad_cobs;
    uint32_t bad_crc;
    uint32_t too_long;
    uint32_t bad_message; /* right check, but not a message of this layout */
} link_decoder;

void link_start(link_decoder *decoder);

/* Take one byte; 1 when it completes a message, which is then in `message`. */
int32_t link_feed(link_decoder *decoder, uint8_t byte, link_message *message);

/* Write a frame with its zero; its length. `frame` holds LINK_MAX_FRAME + 1 bytes. */
uint32_t link_encode(const link_message *message, uint8_t frame[LINK_MAX_FRAME + 1U]);

uint32_t link_crc(const uint8_t data[], uint32_t size);

uint32_t link_get_u32(const uint8_t data[]);
float link_get_float(const uint8_t data[]);
void link_put_u32(uint8_t data[], uint32_t value);
void link_put_float(uint8_t data[], float value);

#endif
