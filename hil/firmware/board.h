/* board.h: all that differs between boards. A port writes these six functions and nothing else. */
#ifndef BOARD_H
#define BOARD_H

#include "settings.h"

#include <stdint.h>

/* Start clock and serial line; actuators stay off. */
void board_start(void);

/* The next byte received, or -1; it never waits. */
int32_t board_read(void);

/* Send bytes; it may wait for room in the transmitter, never for the host. */
void board_write(const uint8_t data[], uint32_t size);

/* Microseconds since the start; it never goes back. */
uint64_t board_time_us(void);

/* Put an input on the actuators; called once for every turn of the main loop. */
void board_apply(const float u[LINK_NU]);

/* Sleep until a byte or a clock tick comes; a tick comes at least every millisecond. */
void board_wait(void);

#endif
