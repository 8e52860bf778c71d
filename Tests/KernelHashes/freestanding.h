// How the programs of this folder begin and print, with a libc or without one. `run` is theirs.
#ifndef FREESTANDING_H
#define FREESTANDING_H

#if __STDC_HOSTED__
#include <stdio.h>
static void print(const char *text) { fputs(text, stdout); }
int main(int count, char **arguments) {
    (void)arguments;
    return run(count > 1);
}
#else
static long system_call(long number, long x, long y, long z) {
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = x, x1 __asm__("x1") = y, x2 __asm__("x2") = z;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
}
static void print(const char *text) {
    long length = 0;
    while (text[length]) length++;
    system_call(64, 1, (long)text, length);
}
void *memcpy(void *to, const void *from, size_t count) {
    for (size_t i = 0; i < count; i++) ((volatile char *)to)[i] = ((const char *)from)[i];
    return to;
}
void *memset(void *to, int value, size_t count) {
    for (size_t i = 0; i < count; i++) ((volatile char *)to)[i] = (char)value;
    return to;
}
void start(long *stack) { system_call(93, run(stack[0] > 1), 0, 0); }
__asm__(".globl _start\n_start: mov x0, sp\n bl start\n");
#endif

#endif
