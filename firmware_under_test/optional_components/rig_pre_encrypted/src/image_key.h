/* The private key that the host has sent. */
#pragma once

/** @brief In PEM, with NUL; NULL for none */
const char *rig_image_key_pem(void);
