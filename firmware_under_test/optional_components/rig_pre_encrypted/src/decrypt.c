#include <stdlib.h>
#include <string.h>

#include "esp_app_format.h"
#include "esp_encrypted_img.h"
#include "image_key.h"
#include "rig_key_kind.h"
#include "rig_pre_encrypted.h"

#define DESCRIPTION_OFFSET (sizeof(esp_image_header_t) + sizeof(esp_image_segment_header_t))

/* The image that is under way. */
static struct {
    esp_decrypt_handle_t handle;
    rig_call_t *call;
    rig_decrypt_judge_t judge; /* NULL once it has looked */
    esp_err_t refused;         /* esp_https_ota makes ESP_FAIL of what a callback says of the first piece */
} s_image;

esp_err_t rig_decrypt_begin(rig_call_t *call, rig_decrypt_judge_t judge)
{
    const char *pem = rig_image_key_pem();
    if (pem == NULL) {
        return rig_call_refuse(call, ESP_ERR_INVALID_STATE, "no key yet: send image_key first");
    }
    if (rig_key_kind(pem) == RIG_KEY_EC) {
        /* For ECIES the component derives its key from one in an eFuse block. */
        return rig_call_refuse(call, ESP_ERR_NOT_SUPPORTED, "esp_encrypted_img takes EC keys from eFuses only");
    }
    const esp_decrypt_cfg_t config = {.rsa_priv_key = pem, .rsa_priv_key_len = strlen(pem) + 1};
    s_image.handle = esp_encrypted_img_decrypt_start(&config);
    s_image.call = call;
    s_image.judge = judge;
    s_image.refused = ESP_OK;
    return s_image.handle == NULL ? ESP_ERR_NO_MEM : ESP_OK;
}

uint16_t rig_decrypt_header_size(void)
{
    return esp_encrypted_img_get_header_size();
}

static esp_err_t judge(const char *data, size_t size)
{
    esp_app_desc_t offered;
    const rig_decrypt_judge_t look = s_image.judge;
    s_image.judge = NULL;
    if (look == NULL) {
        return ESP_OK;
    }
    if (size < DESCRIPTION_OFFSET + sizeof(offered)) {
        return rig_call_refuse(s_image.call, ESP_FAIL, "no app description in the first piece");
    }
    memcpy(&offered, data + DESCRIPTION_OFFSET, sizeof(offered));
    if (offered.magic_word != ESP_APP_DESC_MAGIC_WORD) {
        return rig_call_refuse(s_image.call, ESP_FAIL, "no app description: another key, or no app");
    }
    return look(s_image.call, &offered);
}

esp_err_t rig_decrypt_piece(decrypt_cb_arg_t *args, void *unused)
{
    (void)unused;
    pre_enc_decrypt_arg_t piece = {.data_in = args->data_in, .data_in_len = args->data_in_len};
    esp_err_t error = esp_encrypted_img_decrypt_data(s_image.handle, &piece);
    if (error == ESP_ERR_NOT_FINISHED) {
        error = ESP_OK;
    }
    if (error == ESP_OK && piece.data_out_len > 0) {
        error = judge(piece.data_out, piece.data_out_len);
    }
    if (error != ESP_OK) {
        s_image.refused = error;
        free(piece.data_out);
        return error;
    }
    args->data_out = piece.data_out;
    args->data_out_len = piece.data_out_len;
    return ESP_OK;
}

esp_err_t rig_decrypt_verdict(rig_call_t *call, esp_err_t error)
{
    if (s_image.refused != ESP_OK) {
        return call->text[0] != '\0' ? s_image.refused
                                     : rig_call_refuse(call, s_image.refused, "the image cannot be decrypted");
    }
    if (error != ESP_OK) {
        return error;
    }
    const esp_decrypt_handle_t handle = s_image.handle;
    s_image.handle = NULL;
    error = esp_encrypted_img_decrypt_end(handle);
    return error == ESP_OK ? ESP_OK : rig_call_refuse(call, error, "its tag is wrong, or bytes are missing");
}

void rig_decrypt_drop(void)
{
    if (s_image.handle != NULL) {
        esp_encrypted_img_decrypt_abort(s_image.handle);
        s_image.handle = NULL;
    }
}
