#include "cmd.h"
int ku_cmd_copy_up(int argc, char **argv) { (void)argc; (void)argv; return KU_EXIT_FAIL; }
