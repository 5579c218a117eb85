/* Adds its arguments. */
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **args) {
    long sum = 0;
    for (int at = 1; at < count; at++) sum += strtol(args[at], NULL, 10);
    printf("%ld\n", sum);
    return 0;
}
