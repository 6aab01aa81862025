module ripcord-bench

go 1.27
