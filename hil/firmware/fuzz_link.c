/* fuzz_link.c: feeds damaged frames to the decoder on the host; prints how many were accepted, which must be none.
 *
 * cc -std=c99 -g -O1 -fsanitize=address,undefined fuzz_link.c link.c -o fuzz_link && ./fuzz_link 1000000 1
 */
#include "link.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state;

static uint32_t draw(uint32_t below)
{
    state ^= state << 13U;
    state ^= state >> 7U;
    state ^= state << 17U;
    return (uint32_t)((state >> 16U) % below);
}

/* A valid frame of a random kind with random content; its length without the zero. */
static uint32_t valid_frame(uint8_t frame[])
{
    static const uint8_t kinds[8] = {1U, 2U, 3U, 4U, 5U, 6U, 8U, 9U};
    static const uint32_t sizes[8] = {LINK_MEASUREMENT_SIZE, LINK_COMMAND_SIZE, 0U, 2U, 8U, 8U, 8U, 16U};
    link_message message;
    const uint32_t at = draw(8U);
    uint32_t i;
    message.kind = kinds[at];
    message.body_size = sizes[at];
    message.session = draw(0xFFFFFFFFU);
    message.sequence = draw(0xFFFFU);
    message.time_us = draw(0xFFFFFFFFU);
    for (i = 0U; i < message.body_size; ++i) {
        message.body[i] = (uint8_t)draw(256U);
    }
    return link_encode(&message, frame) - 1U;
}

/* Damage a frame in one of eight ways; its new length. */
static uint32_t damage(uint8_t data[], uint32_t size)
{
    const uint32_t way = draw(8U);
    const uint32_t at = draw(size);
    uint32_t count;
    uint32_t i;
    switch (way) {
    case 0U: /* noise */
        size = 1U + draw(2U * LINK_MAX_FRAME);
        for (i = 0U; i < size; ++i) {
            data[i] = (uint8_t)draw(256U);
        }
        break;
    case 1U: /* one to three bits */
        count = 1U + draw(3U);
        for (i = 0U; i < count; ++i) {
            data[draw(size)] ^= (uint8_t)(1U << draw(8U));
        }
        break;
    case 2U: /* a burst of up to 16 bits */
        data[at] ^= (uint8_t)(1U + draw(255U));
        if ((at + 1U) < size) {
            data[at + 1U] ^= (uint8_t)draw(256U);
        }
        break;
    case 3U: /* cut off */
        size = at;
        break;
    case 4U: /* a byte too many */
        (void)memmove(&data[at + 1U], &data[at], size - at);
        data[at] = (uint8_t)draw(256U);
        ++size;
        break;
    case 5U: /* a byte lost */
        (void)memmove(&data[at], &data[at + 1U], size - at - 1U);
        --size;
        break;
    case 6U: /* two bytes swapped */
        count = draw(size);
        i = data[at];
        data[at] = data[count];
        data[count] = (uint8_t)i;
        break;
    default: /* several bytes replaced */
        count = 1U + draw(6U);
        for (i = 0U; i < count; ++i) {
            data[draw(size)] = (uint8_t)draw(256U);
        }
        break;
    }
    return size;
}

int main(int argc, char **argv)
{
    const uint64_t frames = (argc > 1) ? strtoull(argv[1], NULL, 10) : 1000000U;
    static uint8_t good[LINK_MAX_FRAME + 1U];
    static uint8_t bad[(2U * LINK_MAX_FRAME) + 2U];
    link_decoder decoder;
    link_message message;
    uint64_t accepted = 0U;
    uint64_t n = 0U;
    uint32_t i;
    state = 0x9E3779B97F4A7C15U ^ ((argc > 2) ? strtoull(argv[2], NULL, 10) : 1U);
    link_start(&decoder);
    while (n < frames) {
        const uint32_t size = valid_frame(good);
        uint32_t length;
        (void)memcpy(bad, good, size);
        length = damage(bad, size);
        for (i = 0U; (i < length) && (bad[i] == 0U); ++i) {
            /* zeros before a frame are idle line */
        }
        if (((length - i) >= size) && (memcmp(&bad[i], good, size) == 0)) {
            continue; /* the frame itself is as it was */
        }
        for (i = 0U; i < length; ++i) {
            accepted += (uint64_t)link_feed(&decoder, bad[i], &message);
        }
        accepted += (uint64_t)link_feed(&decoder, 0U, &message);
        ++n;
    }
    printf("%" PRIu64 " frames, %" PRIu64 " accepted, right check %" PRIu32 ", bad stuffing %" PRIu32
           ", bad check %" PRIu32 ", too long %" PRIu32 ", no message %" PRIu32 "\n",
           n, accepted, decoder.frames, decoder.bad_cobs, decoder.bad_crc, decoder.too_long, decoder.bad_message);
    return (accepted == 0U) ? 0 : 1;
}
