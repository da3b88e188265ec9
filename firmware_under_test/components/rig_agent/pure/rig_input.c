#include "rig_input.h"

#include <string.h>

/* A line of the contract, CR and LF. */
#define KEPT (RIG_LINE_MAX + 2)

void rig_input_clear(rig_input_t *input)
{
    input->length = 0;
    input->text[0] = '\0';
}

bool rig_input_put(rig_input_t *input, char byte)
{
    if (input->length > 0 && input->text[input->length - 1] == '\n') {
        input->length = 0;
    }
    if (input->length == sizeof(input->text)) {
        memmove(input->text, input->text + input->length - KEPT, KEPT);
        input->length = KEPT;
    }
    input->text[input->length++] = byte;
    return byte == '\n';
}
