# --8<-- [start:run]
gitmachine run -m "Say goodbye" -- sed -i s/hello/goodbye/ hello.txt
git log --oneline --branches='gitmachine/*' # the branch is in your repository; your checkout is as it was
# --8<-- [end:run]
# --8<-- [start:keep]
gitmachine start --session greeting
gitmachine run --session greeting -- "echo everybody >> hello.txt"
gitmachine diff greeting
gitmachine log greeting
gitmachine pause greeting # commits, then freezes; nothing of it runs until you come back
gitmachine run --session greeting -- cat hello.txt
gitmachine stop greeting # commits, pushes the branch, ends the machine
# --8<-- [end:keep]
