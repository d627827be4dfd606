#include <assert.h>
#include "sum.h"

int main(void)
{
    assert(sum(1, 2) == 3);
    return 0;
}
