/* link.c: framing and layout of the messages; see link.h. */
#include "link.h"

#include <string.h>

#define MAGIC 0xA5U
#define VERSION 1U

typedef union {
    uint32_t bits;
    float value;
} number; /* one IEEE 754 word, seen both ways */

uint32_t link_crc(const uint8_t data[], uint32_t size)
{
    static const uint32_t table[16] = {
        0x00000000U, 0x1DB71064U, 0x3B6E20C8U, 0x26D930ACU, 0x76DC4190U, 0x6B6B51F4U, 0x4DB26158U, 0x5005713CU,
        0xEDB88320U, 0xF00F9344U, 0xD6D6A3E8U, 0xCB61B38CU, 0x9B64C2B0U, 0x86D3D2D4U, 0xA00AE278U, 0xBDBDF21CU};
    uint32_t crc = 0xFFFFFFFFU;
    uint32_t i;
    for (i = 0U; i < size; ++i) { /* four bits at a time */
        crc ^= data[i];
        crc = (crc >> 4U) ^ table[crc & 0xFU];
        crc = (crc >> 4U) ^ table[crc & 0xFU];
    }
    return crc ^ 0xFFFFFFFFU;
}

uint32_t link_get_u32(const uint8_t data[])
{
    return (uint32_t)data[0] | ((uint32_t)data[1] << 8U) | ((uint32_t)data[2] << 16U) | ((uint32_t)data[3] << 24U);
}

void link_put_u32(uint8_t data[], uint32_t value)
{
    data[0] = (uint8_t)(value & 0xFFU);
    data[1] = (uint8_t)((value >> 8U) & 0xFFU);
    data[2] = (uint8_t)((value >> 16U) & 0xFFU);
    data[3] = (uint8_t)((value >> 24U) & 0xFFU);
}

float link_get_float(const uint8_t data[])
{
    number word;
    word.bits = link_get_u32(data);
    return word.value;
}

void link_put_float(uint8_t data[], float value)
{
    number word;
    word.value = value;
    link_put_u32(data, word.bits);
}

void link_start(link_decoder *decoder)
{
    (void)memset(decoder, 0, sizeof(*decoder));
}

/* Undo COBS; the length of the content, 0 where the frame is damaged. */
static uint32_t unstuff(const uint8_t frame[], uint32_t size, uint8_t content[LINK_MAX_FRAME])
{
    uint32_t from = 0U;
    uint32_t to = 0U;
    while (from < size) {
        const uint32_t code = frame[from];
        uint32_t i;
        if ((code == 0U) || ((from + code) > size)) {
            return 0U;
        }
        for (i = 1U; i < code; ++i) {
            if (frame[from + i] == 0U) {
                return 0U;
            }
            content[to] = frame[from + i];
            ++to;
        }
        from += code;
        if ((code < 0xFFU) && (from < size)) {
            content[to] = 0U;
            ++to;
        }
    }
    return to;
}

/* Length of the body of a kind; 0xFFFF where there is no such kind. */
static uint32_t body_size(uint32_t kind)
{
    uint32_t size = 0xFFFFU;
    switch (kind) {
    case LINK_MEASUREMENT:
        size = LINK_MEASUREMENT_SIZE;
        break;
    case LINK_COMMAND:
        size = LINK_COMMAND_SIZE;
        break;
    case LINK_HEARTBEAT:
        size = 0U;
        break;
    case LINK_STOP:
        size = 2U;
        break;
    case LINK_ARM:
    case LINK_ACKNOWLEDGE:
    case LINK_HELLO:
        size = 8U;
        break;
    case LINK_WELCOME:
        size = 16U;
        break;
    default:
        break;
    }
    return size;
}

static int32_t read_message(const uint8_t data[], uint32_t size, link_message *message)
{
    uint32_t i;
    if ((size < LINK_HEADER) || (data[0] != MAGIC) || (data[1] != VERSION) || (data[3] != 0U)) {
        return 0;
    }
    if (body_size(data[2]) != (size - LINK_HEADER)) {
        return 0;
    }
    message->kind = data[2];
    message->session = link_get_u32(&data[4]);
    message->sequence = link_get_u32(&data[8]);
    message->time_us = (uint64_t)link_get_u32(&data[12]);
    message->time_us |= (uint64_t)link_get_u32(&data[16]) << 32U;
    message->body_size = size - LINK_HEADER;
    (void)memcpy(message->body, &data[LINK_HEADER], message->body_size);
    if (message->kind == (uint8_t)LINK_COMMAND) {
        for (i = 0U; i < LINK_NU; ++i) {
            if ((link_get_u32(&message->body[4U + (4U * i)]) & 0x7F800000U) == 0x7F800000U) {
                return 0; /* NaN or infinity */
            }
        }
    }
    return 1;
}

/* A zero has come: judge what was collected. */
static int32_t finish(link_decoder *decoder, link_message *message)
{
    uint8_t content[LINK_MAX_FRAME];
    const uint32_t size = decoder->size;
    const uint8_t overflowed = decoder->overflowed;
    uint32_t length;
    decoder->size = 0U;
    decoder->overflowed = 0U;
    if (size == 0U) {
        return 0; /* idle line */
    }
    if (overflowed != 0U) {
        ++decoder->too_long;
        return 0;
    }
    length = unstuff(decoder->buffer, size, content);
    if (length == 0U) {
        if ((size == 1U) && (decoder->buffer[0] == 1U)) {
            ++decoder->bad_crc; /* well stuffed, but empty */
        } else {
            ++decoder->bad_cobs;
        }
        return 0;
    }
    if ((length < (LINK_CHECK + 1U)) ||
        (link_crc(content, length - LINK_CHECK) != link_get_u32(&content[length - LINK_CHECK]))) {
        ++decoder->bad_crc;
        return 0;
    }
    ++decoder->frames;
    if (read_message(content, length - LINK_CHECK, message) == 0) {
        ++decoder->bad_message;
        return 0;
    }
    return 1;
}

int32_t link_feed(link_decoder *decoder, uint8_t byte, link_message *message)
{
    int32_t done = 0;
    if (byte == 0U) {
        done = finish(decoder, message);
    } else if (decoder->size < LINK_MAX_FRAME) {
        decoder->buffer[decoder->size] = byte;
        ++decoder->size;
    } else {
        decoder->overflowed = 1U;
    }
    return done;
}

uint32_t link_encode(const link_message *message, uint8_t frame[LINK_MAX_FRAME + 1U])
{
    uint8_t content[LINK_MAX_MESSAGE + LINK_CHECK];
    const uint32_t size = LINK_HEADER + message->body_size;
    uint32_t mark = 0U;
    uint32_t to = 1U;
    uint32_t i;
    content[0] = MAGIC;
    content[1] = VERSION;
    content[2] = message->kind;
    content[3] = 0U;
    link_put_u32(&content[4], message->session);
    link_put_u32(&content[8], message->sequence);
    link_put_u32(&content[12], (uint32_t)(message->time_us & 0xFFFFFFFFU));
    link_put_u32(&content[16], (uint32_t)(message->time_us >> 32U));
    (void)memcpy(&content[LINK_HEADER], message->body, message->body_size);
    link_put_u32(&content[size], link_crc(content, size));
    for (i = 0U; i < (size + LINK_CHECK); ++i) {
        if (content[i] != 0U) {
            frame[to] = content[i];
            ++to;
        }
        if ((content[i] == 0U) || (((to - mark) == 0xFFU) && ((i + 1U) < (size + LINK_CHECK)))) {
            frame[mark] = (uint8_t)(to - mark);
            mark = to;
            ++to;
        }
    }
    frame[mark] = (uint8_t)(to - mark);
    frame[to] = 0U;
    return to + 1U;
}
