# cmake -DQEMU=... -DQEMU_FLAGS=... -DIMAGE=x.elf -DOUTPUT=x.txt -DCHECK=... -DMODEL=... -DCALLS=n -P run.cmake
execute_process(
  COMMAND ${QEMU} ${QEMU_FLAGS} -kernel ${IMAGE} -display none -monitor none -serial none
          -chardev file,id=console,path=${OUTPUT}
          -semihosting-config enable=on,target=native,chardev=console
  OUTPUT_VARIABLE errors ERROR_VARIABLE errors RESULT_VARIABLE result TIMEOUT 120)
if(result)
  file(READ ${OUTPUT} text)
  message(FATAL_ERROR "image ended with ${result}\n${text}${errors}")
endif()
execute_process(COMMAND ${CHECK} ${MODEL} ${OUTPUT} ${CALLS} RESULT_VARIABLE result)
if(result)
  message(FATAL_ERROR "the image's answer is not the host's")
endif()
