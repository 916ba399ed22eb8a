/* Start of an MPS2 image: vectors, data and bss, floating-point unit, then main. */
#include <stdint.h>

extern uint32_t data_source[];
extern uint32_t data_start[];
extern uint32_t data_end[];
extern uint32_t bss_start[];
extern uint32_t bss_end[];
extern uint32_t stack_top[];

int main(void);
void reset_handler(void);
void fault_handler(void);

#define CPACR (*(volatile uint32_t *)0xE000ED88U)

__attribute__((section(".vectors"), used)) static const void *const VECTORS[16] = {
    stack_top,     (const void *)reset_handler, (const void *)fault_handler, (const void *)fault_handler,
    (const void *)fault_handler, (const void *)fault_handler, (const void *)fault_handler, 0, 0, 0, 0,
    (const void *)fault_handler, (const void *)fault_handler, 0, (const void *)fault_handler,
    (const void *)fault_handler};

void semihosting_exit(int32_t code);

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
    CPACR |= 0xF00000U; /* full access to the floating-point unit */
    __asm volatile("dsb\n isb" ::: "memory");
#endif
    semihosting_exit(main());
}

void fault_handler(void)
{
    semihosting_exit(99);
}

/* SYS_EXIT_EXTENDED with the reason "application exit". */
void semihosting_exit(int32_t code)
{
    const uint32_t block[2] = {0x20026U, (uint32_t)code};
    register uint32_t operation __asm("r0") = 0x20U;
    register const uint32_t *argument __asm("r1") = block;
    for (;;) {
        __asm volatile("bkpt 0xAB" : "+r"(operation) : "r"(argument) : "memory");
    }
}
