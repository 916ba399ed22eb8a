/* board.c for the emulated MPS2 boards (AN385, AN386, AN500): vectors, UART 0 with a receive interrupt, SysTick. */
#include "board.h"

#define CLOCK_MHZ 25U
#define TICK_US 1000U
#define RING 4096U

#define UART_DATA (*(volatile uint32_t *)0x40004000U)
#define UART_STATE (*(volatile uint32_t *)0x40004004U)
#define UART_CONTROL (*(volatile uint32_t *)0x40004008U)
#define UART_INTERRUPT (*(volatile uint32_t *)0x4000400CU)
#define UART_DIVIDER (*(volatile uint32_t *)0x40004010U)
#define SYST_CSR (*(volatile uint32_t *)0xE000E010U)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014U)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018U)
#define NVIC_ENABLE (*(volatile uint32_t *)0xE000E100U)
#define CPACR (*(volatile uint32_t *)0xE000ED88U)

extern uint32_t data_source[];
extern uint32_t data_start[];
extern uint32_t data_end[];
extern uint32_t bss_start[];
extern uint32_t bss_end[];
extern uint32_t stack_top[];

int main(void);
void reset_handler(void);

static volatile uint8_t ring[RING];
static volatile uint32_t written;
static uint32_t taken;
static volatile uint32_t ticks;
static float applied[LINK_NU];

static void fault_handler(void)
{
    for (;;) {
        /* a board's own watchdog ends this */
    }
}

static void tick_handler(void)
{
    ++ticks;
}

static void receive_handler(void)
{
    UART_INTERRUPT = 2U; /* first, so that a byte that comes meanwhile asks again */
    while ((UART_STATE & 2U) != 0U) {
        ring[written % RING] = (uint8_t)UART_DATA;
        ++written;
    }
}

__attribute__((section(".vectors"), used)) static const void *const VECTORS[17] = {
    stack_top, (const void *)reset_handler, (const void *)fault_handler, (const void *)fault_handler,
    (const void *)fault_handler, (const void *)fault_handler, (const void *)fault_handler, 0, 0, 0, 0,
    (const void *)fault_handler, (const void *)fault_handler, 0, (const void *)fault_handler,
    (const void *)tick_handler, (const void *)receive_handler};

void reset_handler(void)
{
    const uint32_t *from = data_source;
    uint32_t *to;
    for (to = data_start; to < data_end; ++to) {
        *to = *from;
        ++from;
    }
    for (to = bss_start; to < bss_end; ++to) {
        *to = 0U;
    }
#if defined(__ARM_FP)
    CPACR |= 0xF00000U;
    __asm volatile("dsb\n isb" ::: "memory");
#endif
    (void)main();
}

void board_start(void)
{
    SYST_RVR = (CLOCK_MHZ * TICK_US) - 1U;
    SYST_CVR = 0U;
    SYST_CSR = 7U;
    UART_DIVIDER = 16U;
    UART_CONTROL = 0xBU; /* transmit, receive, receive interrupt */
    NVIC_ENABLE = 1U;
}

int32_t board_read(void)
{
    int32_t byte = -1;
    if (taken != written) {
        byte = (int32_t)ring[taken % RING];
        ++taken;
    }
    return byte;
}

void board_write(const uint8_t data[], uint32_t size)
{
    uint32_t i;
    for (i = 0U; i < size; ++i) {
        while ((UART_STATE & 1U) != 0U) {
            /* transmitter full */
        }
        UART_DATA = data[i];
    }
}

uint64_t board_time_us(void)
{
    static uint64_t last;
    uint32_t before;
    uint32_t count;
    uint64_t now;
    do {
        before = ticks;
        count = SYST_CVR;
    } while (before != ticks);
    now = ((uint64_t)before * TICK_US) + (((CLOCK_MHZ * TICK_US) - 1U - count) / CLOCK_MHZ);
    last = (now > last) ? now : last; /* a tick that waits for its interrupt must not turn time back */
    return last;
}

void board_apply(const float u[LINK_NU])
{
    uint32_t i;
    for (i = 0U; i < LINK_NU; ++i) {
        applied[i] = u[i];
    }
}

void board_wait(void)
{
    __asm volatile("wfi");
}
