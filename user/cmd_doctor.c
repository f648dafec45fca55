#include "cmd.h"
int ku_cmd_doctor(int argc, char **argv) { (void)argc; (void)argv; return KU_EXIT_FAIL; }
