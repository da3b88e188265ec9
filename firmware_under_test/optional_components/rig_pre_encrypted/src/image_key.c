/* The command `image_key`: private key of pre-encrypted images. */
#include "image_key.h"

#include "rig_agent_pem.h"
#include "rig_pre_encrypted.h"

#define ROOM 4096

static char s_text[ROOM];
static rig_pem_t s_pem = {.text = s_text, .room = sizeof(s_text)};

const char *rig_image_key_pem(void)
{
    return rig_pem_text(&s_pem);
}

esp_err_t rig_command_image_key(rig_call_t *call)
{
    return rig_pem_take(call, &s_pem, "key");
}
