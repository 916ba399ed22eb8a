/* Evaluates a file of points on the processor and times some of them; files come and go by semihosting.
 *
 * points.bin: n_points u32, n_timed u32, then n_points rows of TARGET_N_IN numbers.
 * result.bin: a row of TARGET_N_OUT numbers and an i32 status a point, then for the first n_timed points the ticks of
 * TARGET_REPEAT evaluations u32, then the ticks of TARGET_REPEAT empty calls u32 and the stack used [byte] u32.
 */
#include "target.h"

#include <stdint.h>

#define CHUNK 1024U
#define PAINT 0xA5C3A5C3U
#define PAINTED_WORDS 8192U

#define SYST_CSR (*(volatile uint32_t *)0xE000E010U)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014U)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018U)

typedef int32_t (*call)(const target_real *in, target_real *out);

static uint32_t semihosting(uint32_t number, const uint32_t *block)
{
    register uint32_t operation __asm("r0") = number;
    register const uint32_t *argument __asm("r1") = block;
    __asm volatile("bkpt 0xAB" : "+r"(operation) : "r"(argument) : "memory");
    return operation;
}

static uint32_t open_file(const char *name, uint32_t length, uint32_t mode)
{
    const uint32_t block[3] = {(uint32_t)(uintptr_t)name, mode, length};
    return semihosting(0x01U, block);
}

static uint32_t transfer(uint32_t operation, uint32_t handle, const void *data, uint32_t size)
{
    const uint32_t block[3] = {handle, (uint32_t)(uintptr_t)data, size};
    return semihosting(operation, block); /* bytes that were not transferred */
}

static int32_t nothing(const target_real *in, target_real *out)
{
    (void)in;
    (void)out;
    return 0;
}

static uint32_t time_calls(call volatile *function, const target_real *in, target_real *out)
{
    const call fixed = *function;
    uint32_t start;
    uint32_t i;
    SYST_CVR = 0U;
    while (SYST_CVR == 0U) {
        /* it reads 0 until the first reload */
    }
    start = SYST_CVR;
    for (i = 0U; i < TARGET_REPEAT; ++i) {
        (void)fixed(in, out);
    }
    return (start - SYST_CVR) & 0xFFFFFFU;
}

static uint32_t stack_used(const target_real *in, target_real *out)
{
    uint32_t pointer;
    volatile uint32_t *top;
    volatile uint32_t *word;
    uint32_t size = PAINTED_WORDS;
    __asm volatile("mov %0, sp" : "=r"(pointer)); /* what is called lies below */
    top = (volatile uint32_t *)(uintptr_t)pointer;
    for (word = top - PAINTED_WORDS; word < top; ++word) {
        *word = PAINT;
    }
    (void)target_call(in, out);
    for (word = top - PAINTED_WORDS; (size > 0U) && (*word == PAINT); ++word) {
        --size;
    }
    return size * 4U;
}

static target_real points[CHUNK][TARGET_N_IN];
static struct {
    target_real u[TARGET_N_OUT];
    int32_t status;
} rows[CHUNK];
static uint32_t ticks[CHUNK];

int main(void)
{
    static call volatile evaluate = target_call;
    static call volatile empty = nothing;
    uint32_t counts[2] = {0U, 0U};
    uint32_t stack = 0U;
    uint32_t done;
    uint32_t i;
    const uint32_t source = open_file("points.bin", 10U, 1U);
    const uint32_t sink = open_file("result.bin", 10U, 5U);
    if ((transfer(0x06U, source, counts, 8U) != 0U) || (counts[1] > CHUNK)) {
        return 2;
    }
    SYST_RVR = 0xFFFFFFU;
    SYST_CSR = 5U;
    for (done = 0U; done < counts[0]; done += CHUNK) {
        const uint32_t count = ((counts[0] - done) < CHUNK) ? (counts[0] - done) : CHUNK;
        if (transfer(0x06U, source, points, count * (uint32_t)sizeof(points[0])) != 0U) {
            return 3;
        }
        for (i = 0U; i < count; ++i) {
            rows[i].status = target_call(points[i], rows[i].u);
        }
        if (transfer(0x05U, sink, rows, count * (uint32_t)sizeof(rows[0])) != 0U) {
            return 4;
        }
        for (i = 0U; (done == 0U) && (i < counts[1]); ++i) {
            const uint32_t used = stack_used(points[i], rows[i].u);
            ticks[i] = time_calls(&evaluate, points[i], rows[i].u);
            stack = (used > stack) ? used : stack;
        }
    }
    counts[0] = time_calls(&empty, points[0], rows[0].u);
    if ((transfer(0x05U, sink, ticks, counts[1] * 4U) != 0U) || (transfer(0x05U, sink, counts, 4U) != 0U) ||
        (transfer(0x05U, sink, &stack, 4U) != 0U)) {
        return 5;
    }
    return 0;
}
