/* Growable arrays; the program exits when it runs out of memory: a benchmark has no better answer. */
#ifndef RANKMUX_BENCH_MEMORY_H
#define RANKMUX_BENCH_MEMORY_H

#include <stdio.h>
#include <stdlib.h>

static inline void *resized(void *memory, size_t size)
{
    memory = realloc(memory, size);
    if (!memory && size) {
        fputs("out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

/* Make room for `needed` elements in `array`, which has room for `cap`. */
#define RESERVE(array, cap, needed)                                             \
    do {                                                                        \
        if ((cap) < (needed)) {                                                 \
            (cap) = (cap) * 2 > (needed) ? (cap) * 2 : (needed);                \
            (array) = resized((array), (size_t)(cap) * sizeof *(array));        \
        }                                                                       \
    } while (0)

#endif
