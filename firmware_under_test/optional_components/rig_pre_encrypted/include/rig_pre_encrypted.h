/* Images that are decrypted while they are downloaded, by Espressif's component esp_encrypted_img (PROTOCOL.md, section
 * 8.1). One at a time: rig_decrypt_begin(), the pieces, rig_decrypt_verdict(), rig_decrypt_drop(). */
#pragma once

#include <stdint.h>

#include "esp_app_desc.h"
#include "esp_https_ota.h"
#include "rig_agent_command.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Looks at the description of an app before it is written; ESP_OK, or why it is refused */
typedef esp_err_t (*rig_decrypt_judge_t)(rig_call_t *call, const esp_app_desc_t *offered);

/** @brief Act on the command `image_key` */
esp_err_t rig_command_image_key(rig_call_t *call);

/**
 * @brief Begin
 *
 * @param judge NULL to take any app
 * @return ESP_OK; ESP_ERR_INVALID_STATE without a key; ESP_ERR_NOT_SUPPORTED for an EC key; ESP_ERR_NO_MEM
 */
esp_err_t rig_decrypt_begin(rig_call_t *call, rig_decrypt_judge_t judge);

/** @brief Bytes of a pre-encrypted image before its content */
uint16_t rig_decrypt_header_size(void);

/** @brief Give this to esp_https_ota as its decrypt_cb */
esp_err_t rig_decrypt_piece(decrypt_cb_arg_t *args, void *unused);

/** @brief When the download has ended with `error`: what became of the image, its tag included */
esp_err_t rig_decrypt_verdict(rig_call_t *call, esp_err_t error);

/** @brief Forget what was under way; the key stays */
void rig_decrypt_drop(void);

#ifdef __cplusplus
}
#endif
